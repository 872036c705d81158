"""What follows a run's length: the learning rates' schedule, the EMA's window, and where the run ends."""

from collections.abc import Callable

from flowerml.settings import Settings
from flowerml.training.callbacks import TrainingResult
from flowerml.training.ema import EMA
from flowerml.training.length.fit import LengthFit
from flowerml.training.length.run_length import RunLength
from flowerml.training.schedule import Schedule


class RunSchedule:
    """The schedule of a run whose length is that of `fit`; `result` and `ema` get each new length.

    `on_length` is called where the length was fitted to a time limit, or fitted again.
    """

    def __init__(
        self,
        settings: Settings,
        fit: LengthFit,
        ema: EMA | None,
        result: TrainingResult,
        on_length: Callable[[RunLength], None],
    ) -> None:
        self._settings, self._ema, self._result, self._on_length = settings, ema, result, on_length
        self.fit = fit
        self.follow()

    def follow(self) -> None:
        """Take schedule and EMA from the run's length as it is now."""
        length = self._result.length = self.fit.length
        (_, total), *later = length.fits
        self._schedule = Schedule(self._settings.scheduler, total, length.warmup_steps, tuple(later))
        if self._ema is not None:
            self._ema.set_total_steps(length.total)

    def follow_new(self) -> None:
        """`follow`, and tell the new length."""
        self.follow()
        self._on_length(self.fit.length)

    def refit(self, epoch: int, steps: int, seconds: float, between: float | None = None) -> None:
        """Fit the length again, if it is fitted at all, after `steps` steps of this epoch of so many `seconds` each.

        `between` are those of what followed the epoch, None within one.
        """
        length = self.fit.length
        step = (epoch - 1) * length.steps_per_epoch + steps
        if self.fit.update(step, frozen=epoch <= length.frozen_epochs, seconds=seconds, between=between):
            self.follow_new()

    def factor(self, step: int) -> float:
        """What the learning rates are multiplied by in a 0-based step of the run."""
        return self._schedule.factor(step)

    def is_cut_off(self, epoch: int, steps: int) -> bool:
        """Whether the run ends within an epoch, after these steps of it."""
        length = self.fit.length
        return length.steps_of(epoch) <= steps < length.steps_per_epoch

    @property
    def last_epoch(self) -> int:
        """The last epoch (1-based), early stopping aside."""
        return self._settings.stop_epoch or self.fit.length.epochs
