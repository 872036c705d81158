"""The length of a run in optimizer steps, and what of it is counted in epochs: warm-up, frozen and unmixed epochs."""

from dataclasses import dataclass, replace

from flowerml.settings import Settings


@dataclass(frozen=True)
class RunLength:
    """The steps of a run.

    `fits` are pairs (step, total): from this 0-based step on, the run has so many steps in total. The first step is 0.
    The last epoch has fewer steps than `steps_per_epoch` where the total is no multiple of it.
    """

    steps_per_epoch: int
    fits: tuple[tuple[int, int], ...]
    warmup_steps: int
    frozen_epochs: int
    unmixed_epochs: int

    @property
    def total(self) -> int:
        """Steps of the run, as fitted last."""
        return self.fits[-1][1]

    @property
    def epochs(self) -> int:
        """Number of the last epoch (1-based), which may be a part of one."""
        return -(-self.total // self.steps_per_epoch)

    @property
    def in_epochs(self) -> str:
        """The length in epochs, with decimals where the last is a part of one."""
        return f"{round(self.total / self.steps_per_epoch, 2):g}"

    @property
    def frozen_steps(self) -> int:
        """The first steps, in which the backbone is frozen."""
        return self.frozen_epochs * self.steps_per_epoch

    def steps_of(self, epoch: int) -> int:
        """Steps of an epoch (1-based)."""
        return min(self.steps_per_epoch, self.total - (epoch - 1) * self.steps_per_epoch)

    def is_mixed(self, epoch: int) -> bool:
        """Whether mixup and cutmix apply in an epoch: in all but the last `unmixed_epochs`, as known when it begins."""
        known = [total for step, total in self.fits if step <= (epoch - 1) * self.steps_per_epoch]
        return epoch <= -(-known[-1] // self.steps_per_epoch) - self.unmixed_epochs

    def refitted(self, step: int, total: int) -> "RunLength":
        """The run with another total from `step` on. What is counted in epochs stays."""
        return replace(self, fits=(*self.fits, (step, total)))

    def as_text(self) -> str:
        """`fits` as `--fitted-steps` takes them: `412,405@92` is 412, and from step 92 on 405."""
        (_, first), *later = self.fits
        return ",".join([str(first), *(f"{total}@{step}" for step, total in later)])


def whole_length(settings: Settings, steps_per_epoch: int) -> RunLength:
    """The length of a run without a limit: `epochs`."""
    return RunLength(
        steps_per_epoch,
        ((0, steps_per_epoch * settings.epochs),),
        steps_per_epoch * settings.warmup_epochs,
        settings.freeze_backbone_epochs,
        settings.unmixed_epochs,
    )


def shortened_length(settings: Settings, steps_per_epoch: int, total: int) -> RunLength:
    """A run of `total` steps in which warm-up, frozen and unmixed epochs have about their share of `epochs`.

    Each of them stays at least one epoch (the warm-up: one step), and one epoch at least trains the backbone and one
    is mixed, where that is so in `epochs`.
    """
    whole = whole_length(settings, steps_per_epoch)
    share = total / whole.total
    length = replace(whole, fits=((0, total),), warmup_steps=_part(whole.warmup_steps, share))

    def epochs(count: int) -> int:
        return count if count >= settings.epochs else min(_part(count, share), length.epochs - 1)

    return replace(length, frozen_epochs=epochs(whole.frozen_epochs), unmixed_epochs=epochs(whole.unmixed_epochs))


def parse_fits(text: str) -> tuple[tuple[int, int], ...]:
    """`RunLength.fits` from their text."""
    first, *later = text.split(",")
    pairs = (part.split("@") for part in later)
    return ((0, int(first)), *((int(step), int(total)) for total, step in pairs))


def _part(count: int, share: float) -> int:
    return max(1, round(count * share)) if count else 0
