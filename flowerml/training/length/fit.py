"""The length of a run as it is fitted to `--max-minutes`, before its first step and again as it goes; or repeated."""

import logging
import math
from dataclasses import asdict
from functools import partial

from flowerml.errors import RunFailed
from flowerml.human_units import duration
from flowerml.settings import Settings
from flowerml.training.checkpoints.progress import StateDict
from flowerml.training.distributed.ranks import Ranks
from flowerml.training.length.run_length import RunLength, parse_fits, shortened_length, whole_length
from flowerml.training.length.time_limit import StepTimes, TimeLimit, most_steps

logger = logging.getLogger(__name__)

_TOLERANCE = 0.01  # of the limit: a smaller deviation leaves the length as it is
_TOLERANCE_LEFT = 0.05  # of the time left: what is missed early can be made good, and speed varies
_FEW_EPOCHS = 10  # a shorter run is also fitted again within an epoch
_WITHIN_EPOCH = 4


class LengthFit:
    """The length of a run: `epochs`; fitted to a `limit`, of which rank 0 decides; or that of `fitted_steps`.

    A fit is in the checkpoints, so that a resumed run has the length that it had.
    """

    def __init__(self, settings: Settings, steps_per_epoch: int, limit: TimeLimit | None, ranks: Ranks) -> None:
        self.settings, self.limit, self.ranks = settings, limit, ranks
        self.length = whole_length(settings, steps_per_epoch)
        self.largest = self.length.total
        self.times: StepTimes | None = None
        self._repeated: dict[int, int] = {}
        if settings.fitted_steps != "none":
            self._repeat(settings.fitted_steps)

    @property
    def is_due(self) -> bool:
        """Whether the length has yet to be chosen by trial steps."""
        return self.limit is not None and self.times is None

    @property
    def end(self) -> str:
        """What the end of the last epoch is, in words."""
        return "all epochs done" if self.length.total == self.largest else "all fitted steps done"

    def choose(self, times: StepTimes) -> None:
        """Choose the length by the times of trial steps.

        Raises:
            RunFailed: not even a step fits.
        """
        assert self.limit is not None
        left = self.limit.seconds - times.reserve(self.limit.seconds) - self.limit.spent
        total = self.ranks.from_first(most_steps(left, times, self._shortened, 0, self.largest))
        self.times = times = self.ranks.from_first(times)
        minutes, of_epoch = f"--max-minutes {self.settings.max_minutes:g}", self.length.steps_per_epoch
        figures = f"a step takes about {_seconds(times.full)}, what follows an epoch {_seconds(times.between)}"
        if total < 1:
            raise RunFailed(f"{minutes} is too short for a single step: {figures}. Allow more, or take a smaller model")
        if total < of_epoch:
            needed = self.limit.spent + 1.05 * times.of(self._shortened(of_epoch), 0) + times.reserve(3600.0)
            logger.warning(
                f"{minutes} is too short for an epoch of {of_epoch} steps ({figures}): the run ends after {total} of"
                f" them, with a validation. An epoch would take --max-minutes {math.ceil(needed / 6) / 10:g}"
            )
        self.length = self._shortened(total)
        logger.info(
            f"{minutes}: {figures}; {self._in_words()} (warm-up {self.length.warmup_steps} steps, backbone frozen in"
            f" {self.length.frozen_epochs} epochs)"
        )

    def update(self, step: int, *, frozen: bool, seconds: float, between: float | None = None) -> bool:
        """Fit the length again after `step` steps, by the time of the last ones. Returns whether it has changed.

        `seconds` is that of a step of this epoch, `between` that of what follows an epoch (None: no news). All ranks
        must call it.
        """
        if step >= self.length.total:
            return False
        total = self._repeated.get(step, self.length.total)
        if self.limit is not None:
            assert self.times is not None
            self.times = self.times.updated(frozen=frozen, seconds=seconds, between=between)
            total = self.ranks.from_first(self._fitting(step, self.times, self.limit))
        if total == self.length.total:
            return False
        self.length = self.length.refitted(step, total)
        logger.info(f"after step {step}: {self._in_words()}")
        return True

    def is_due_within(self, step: int) -> bool:
        """Whether the length is fitted again after `step` steps, within an epoch."""
        of_epoch = self.length.steps_per_epoch
        if step % of_epoch == 0 or step >= self.length.total:
            return False
        if self.limit is None:
            return step in self._repeated
        return self.length.epochs < _FEW_EPOCHS and step % of_epoch % -(-of_epoch // _WITHIN_EPOCH) == 0

    def state_dict(self) -> StateDict | None:
        """The fit and the time spent, for a checkpoint; None for a run whose length is `epochs`, or not yet chosen."""
        if self.limit is None or self.times is None:
            return {"fits": [list(fit) for fit in self.length.fits]} if self._repeated else None
        return {
            "fits": [list(fit) for fit in self.length.fits],
            "times": asdict(self.times),
            "spent": self.limit.spent,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Load a `state_dict` of a run with the same settings."""
        (_, first), *later = state["fits"]
        self.length = self._shortened(first)
        for step, total in later:
            self.length = self.length.refitted(step, total)
        if self.limit is not None:
            self.times, self.limit.earlier = StepTimes(**state["times"]), state["spent"]

    def _repeat(self, text: str) -> None:
        (_, first), *later = parse_fits(text)
        if max(first, *(total for _, total in later), 0) > self.largest:
            raise RunFailed(
                f"--fitted-steps {text}: --epochs {self.settings.epochs} are {self.largest} steps here, and it is"
                " longer. Repeat a run with its own pictures, --batch-size and --epochs"
            )
        self.length, self._repeated = self._shortened(first), dict(later)

    def _fitting(self, step: int, times: StepTimes, limit: TimeLimit) -> int:
        """The total that fits after `step` steps: one more at least, which takes the learning rate to its floor."""
        left = limit.seconds - times.reserve(limit.seconds) - limit.spent
        total = most_steps(left, times, partial(self.length.refitted, step), step, self.largest)
        tolerated = max(_TOLERANCE * limit.seconds, _TOLERANCE_LEFT * left)
        if total < self.largest and abs(total - self.length.total) * times.full < tolerated:
            return self.length.total
        return max(total, step + 1)

    def _shortened(self, total: int) -> RunLength:
        return shortened_length(self.settings, self.length.steps_per_epoch, max(1, total))

    def _in_words(self) -> str:
        return f"{self.length.total} steps fit, {self.length.in_epochs} of {self.settings.epochs} epochs"


def _seconds(seconds: float) -> str:
    return duration(seconds) if seconds >= 10 else f"{seconds:.2g} s"
