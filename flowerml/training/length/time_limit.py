"""How many steps fit into a time limit, by the times of steps and validations."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from flowerml.training.length.run_length import RunLength

_WARM_STEPS = 2  # not counted: memory is allocated, kernels are chosen, worker processes start
_MOST_STEPS = 10
_MOST_SHARE = 0.02  # of the limit, for the trial steps of one kind
# What is kept free for the end of the run: two validations in fp32, and figures. Not more than so much of the limit.
_END_S = 6.0
_END_VALIDATIONS = 2
_MOST_RESERVED = 0.025


@dataclass
class TimeLimit:
    """A limit in seconds of the time that a run's attempts have spent training, by a clock that can't go back.

    The clock also counts while the process is stopped by SIGSTOP; time between two attempts does not count. `earlier`
    are the seconds of earlier attempts up to the checkpoint that this one goes on from.
    """

    seconds: float
    clock: Callable[[], float] = time.monotonic
    earlier: float = 0.0
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.clock()

    @property
    def spent(self) -> float:
        """Seconds spent by now."""
        return self.earlier + self.clock() - self.started


@dataclass(frozen=True)
class StepTimes:
    """Seconds of a step with a frozen backbone, of one without, and of what comes between two epochs: validation,
    checkpoint.
    """

    frozen: float
    full: float
    between: float

    def updated(self, *, frozen: bool, seconds: float, between: float | None) -> "StepTimes":
        """With a new time of steps of one kind, which counts by half: times vary; `between` None is no news."""
        return StepTimes(
            (self.frozen + seconds) / 2 if frozen else self.frozen,
            self.full if frozen else (self.full + seconds) / 2,
            self.between if between is None else between,
        )

    def of(self, length: RunLength, start: int) -> float:
        """Seconds of a run from a 0-based step to its end, without what follows the last validation."""
        frozen = max(0, min(length.total, length.frozen_steps) - start)
        full = max(0, length.total - max(start, length.frozen_steps))
        validations = length.epochs - start // length.steps_per_epoch
        return frozen * self.frozen + full * self.full + validations * self.between

    def reserve(self, limit: float) -> float:
        """Seconds of a limit that are kept for the end of the run: the evaluation in fp32, figures."""
        return min(_END_VALIDATIONS * self.between + _END_S, _MOST_RESERVED * limit)


def most_steps(
    seconds: float, times: StepTimes, length_of: Callable[[int], RunLength], start: int, largest: int
) -> int:
    """The most steps in total, at least `start` and at most `largest`, with which the rest from `start` fits."""
    low, high = start, largest
    while low < high:
        middle = (low + high + 1) // 2
        if times.of(length_of(middle), start) <= seconds:
            low = middle
        else:
            high = middle - 1
    return low


def seconds_per_step(
    steps: Iterator[None], clock: Callable[[], float], limit: float, from_first: Callable[[bool], bool]
) -> float:
    """The mean time of trial steps, which are taken by `steps`, after the first ones; a few, and not for long.

    `from_first` gives every rank the answer of the first: they must take the same number of steps.
    """
    times: list[float] = []
    began = before = clock()
    for _ in steps:
        now = clock()
        times.append(now - before)
        before = now
        is_long = len(times) > _WARM_STEPS and now - began > _MOST_SHARE * limit
        if from_first(is_long or len(times) == _MOST_STEPS):
            break
    counted = times[min(_WARM_STEPS, len(times) - 1) :]
    return sum(counted) / len(counted)
