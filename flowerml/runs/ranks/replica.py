"""A replica: a process that trains with rank 0 on its share of each batch, and writes nothing."""

import logging
import signal

from flowerml.errors import RunFailed, Stopped
from flowerml.log import ROOT
from flowerml.models.builders import set_channels_last
from flowerml.runs.loading.frozen_loaders import frozen_features, frozen_loaders
from flowerml.runs.loading.loaders import make_loaders, make_views
from flowerml.runs.prepare import Prepared, prepare
from flowerml.runs.ranks.rendezvous import Rendezvous, ReplicaTask
from flowerml.runs.resume import checkpoints_of
from flowerml.settings.families.recipes import settings_from_json
from flowerml.training.callbacks import Callbacks
from flowerml.training.checkpoints.store import StoredCheckpoint
from flowerml.training.device import rank_device
from flowerml.training.distributed.ranks import connect, disconnect
from flowerml.training.distributed.torchrun import Torchrun
from flowerml.training.train import train

logger = logging.getLogger(__name__)

_WRITES_NOTHING = Callbacks(
    on_epoch=lambda _row: None,
    on_best=lambda _candidate: None,
    on_memory=lambda _words: None,
    on_state=lambda _progress, _state: None,
)


def run_replica(rendezvous: Rendezvous, place: Torchrun) -> int:
    """Wait for rank 0, prepare the same run, train with it. Returns the exit code; rank 0 is told what went wrong."""
    logging.getLogger(ROOT).setLevel(logging.ERROR)  # rank 0 says the rest
    try:
        _train_along(rendezvous, place)
    except Stopped:
        return 0
    except Exception as error:
        rendezvous.say_failed(place.rank, str(error) or type(error).__name__)
        logger.debug("raised here", exc_info=error)
        return 1
    return 0


def _train_along(rendezvous: Rendezvous, place: Torchrun) -> None:
    task = rendezvous.wait_for_task()
    asked = settings_from_json(task.settings)
    run = prepare(asked.replace(device=rank_device(asked.device, place.local_rank)), place)
    _require_same_files(run, task)
    checkpoint = _checkpoint(run, task)
    views = make_views(run)
    features = frozen_features(run, views, None if checkpoint is None else checkpoint.progress)
    rendezvous.say_ready(place.rank)
    for number in (signal.SIGINT, signal.SIGTERM):  # rank 0 gets them too, and tells when to stop
        signal.signal(number, signal.SIG_IGN)
    ranks = connect(rendezvous.store, place.rank, place.world, run.device)
    loader, val = make_loaders(run, views, ranks.share)
    train(
        run.built,
        run.settings,
        run.data.classes,
        loader,
        val,
        device=run.device,
        memory_format=set_channels_last(run.built.model, run.spec),
        balance=run.balance,
        callbacks=_WRITES_NOTHING,
        load_state=checkpoint.load if checkpoint is not None else None,
        ranks=ranks,
        frozen_loaders=frozen_loaders(run, views, features, loader, ranks.share),
    )
    disconnect()


def _require_same_files(run: Prepared, task: ReplicaTask) -> None:
    """Raise RunFailed where this process sees other data or weights than rank 0."""
    if (run.config_id, run.digests.data, run.digests.split) != (task.config_id, task.data, task.split):
        raise RunFailed(
            f"it sees other pictures or weights than the first process (--train-dir {run.settings.train_dir}): all"
            " hosts must have the same files"
        )


def _checkpoint(run: Prepared, task: ReplicaTask) -> StoredCheckpoint | None:
    """The checkpoint that rank 0 goes on from. Raises RunFailed where it can't be seen from here."""
    if task.start is None:
        return None
    checkpoint = checkpoints_of(run).latest()
    if checkpoint is None or (checkpoint.progress.epochs, checkpoint.progress.steps) != tuple(task.start):
        raise RunFailed(
            f"it does not see the checkpoint in {run.folder} that the training goes on from: --runs-root must be on a"
            " disk that all hosts share"
        )
    return checkpoint
