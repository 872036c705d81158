"""Train a model: the training loop, in the precision and with the errors of a run."""

from collections.abc import Callable

import torch

from flowerml.data.balance import Balance
from flowerml.data.features.loader import FeatureLoaders
from flowerml.data.loader import Loader
from flowerml.data.workers.errors import worker_death_as_error
from flowerml.models.builders import BuiltModel
from flowerml.models.precision import training_precision
from flowerml.process.exit import release_frames
from flowerml.process.garbage_collection import frozen_gc
from flowerml.settings import Settings
from flowerml.training.callbacks import Callbacks, TrainingResult
from flowerml.training.checkpoints.progress import StateDict
from flowerml.training.distributed.ranks import SINGLE, Ranks
from flowerml.training.length.time_limit import TimeLimit
from flowerml.training.trainer import Trainer


def train(
    built: BuiltModel,
    settings: Settings,
    classes: tuple[str, ...],
    train_loader: Loader,
    val_loader: Loader | None,
    *,
    device: torch.device,
    memory_format: torch.memory_format,
    balance: Balance,
    callbacks: Callbacks,
    load_state: Callable[[], StateDict] | None = None,
    ranks: Ranks = SINGLE,
    frozen_loaders: FeatureLoaders | None = None,
    time_limit: TimeLimit | None = None,
) -> TrainingResult:
    """Train `built.model` in place; with `frozen_loaders`, epochs with a frozen backbone get their features.

    With several `ranks` each process calls this with its share of the loaders' examples, and gets the same result;
    callbacks that write are for rank 0 alone.

    Without `val_loader` the last epoch counts as the best, and nothing stops early. `load_state` returns a state that
    `callbacks.on_state` got in an earlier attempt with the same settings, to resume from (a function, so that the state
    is in memory only while it is loaded). A `time_limit` has begun with the run; without one, that of
    `settings.max_minutes`, if any, begins here.

    Raises:
        NotFinite: a loss or gradient is not finite; what `callbacks.on_best` has saved stays valid.
        Stopped: `callbacks.stop_reason` gave a reason; the state went to `callbacks.on_state` before.
        DataLoaderDied: a DataLoader worker process died.
    """
    trainer = Trainer(
        built,
        settings,
        classes,
        train_loader,
        device,
        memory_format,
        balance,
        callbacks,
        ranks,
        frozen_loaders,
        time_limit,
    )
    if load_state is not None:
        trainer.resume(load_state())
    precision = training_precision(settings.tf32, device)
    with frozen_gc(), worker_death_as_error(callbacks.stop_reason), precision:
        try:
            return trainer.run_epochs(val_loader)
        except BaseException as error:
            # What else refers to the trainer (frames of an import in it, kept by a library) must not keep processes.
            for loader in (train_loader, val_loader):
                if loader is not None:
                    loader.end_workers()
            release_frames(error)
            raise
