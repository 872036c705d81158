"""Remove what a finished run no longer needs, where its process could not: killed just then, or a disk that failed."""

import logging
import shutil
from contextlib import suppress
from pathlib import Path

from flowerml.errors import LeaseLost, UserError
from flowerml.events import Status
from flowerml.runs.lifecycle.attempts import CLAIM, lease_owner
from flowerml.runs.lifecycle.lease import JOURNAL_FILES, Lease, acquire, fenced_writes
from flowerml.runs.lifecycle.run_file import read_run_file

logger = logging.getLogger(__name__)

CHECKPOINTS = "state"  # the folder of the checkpoints, in a run's folder
_LEASE_S = 60.0


def clear_leftovers(root: Path) -> bool:
    """Remove the checkpoints of the run in `root` if it is FINISHED and no process works on it; True if there were any.

    A run is FINISHED before its checkpoints go, so one that is ended in between has them still. Every command that
    meets a finished run calls this; without leftovers it costs a look at the folder. Logs what can't be removed.
    """
    owner = lease_owner(root) if _has_leftovers(root) else None
    if owner is None or not owner.expired:
        return False
    try:
        lease = acquire(root, _LEASE_S, closes=True)
    except UserError as error:
        logger.warning(f"{root}: checkpoints of its finished run are left ({error})")
        return False
    with fenced_writes(lease):
        try:
            if not _has_leftovers(root):  # another process was faster: it has removed them, or begun a new run
                return False
            _remove(root, lease)
        except LeaseLost:
            return False
        except UserError as error:
            logger.warning(f"{root}: checkpoints of its finished run are left ({error})")
            return False
        finally:
            lease.withdraw()
    if (root / CHECKPOINTS).exists():  # it holds files that are not flowerml's
        return False
    logger.info(f"{root}: its run is FINISHED; the checkpoints that were left there have been removed")
    return True


def _has_leftovers(root: Path) -> bool:
    if not (root / CHECKPOINTS).is_dir():
        return False
    run_file = read_run_file(root)
    return run_file is not None and run_file.status == Status.FINISHED


def _remove(root: Path, lease: Lease) -> None:
    from flowerml.training.checkpoints.store import CheckpointStore  # it imports torch

    CheckpointStore(root / CHECKPOINTS, "", 0, keep=1).clear()
    for path in lease.previous.iterdir() if lease.previous is not None else ():
        if path.name not in (CLAIM, *JOURNAL_FILES):  # half written by a process that was killed
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
