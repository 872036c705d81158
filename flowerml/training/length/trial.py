"""Choose the length of a run by trial steps before its first step, and undo them."""

from collections.abc import Callable, Iterator

from flowerml.settings import Settings
from flowerml.training.checkpoints.progress import copy_to_cpu
from flowerml.training.length.fit import LengthFit
from flowerml.training.length.time_limit import StepTimes, seconds_per_step
from flowerml.training.train_state import TrainState


def choose_by_trial(
    fit: LengthFit,
    state: TrainState,
    settings: Settings,
    trial_steps: Callable[[int], Iterator[None]],
    validation_batches: int,
) -> None:
    """Choose the length by the time of a few steps; the `state`, random states with it, is then as before.

    `trial_steps` takes the steps of an epoch, frozen or not, one at a time, and waits for each.

    Raises:
        RunFailed: not even a step fits.
    """
    limit, freeze = fit.limit, settings.freeze_backbone_epochs
    assert limit is not None
    before = copy_to_cpu(state.state_dict())

    def seconds(epoch: int) -> float:
        return seconds_per_step(trial_steps(epoch), limit.clock, limit.seconds, fit.ranks.from_first)

    frozen = seconds(1) if freeze else 0.0
    full = seconds(freeze + 1) if freeze < settings.epochs else frozen
    state.load_state_dict(before)
    # Evaluating a batch is about the forward pass of a step, a third of it. The first epoch then shows the time.
    fit.choose(StepTimes(frozen or full, full, validation_batches * full / 3))
