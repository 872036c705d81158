"""What a training does for others beside its own work: closing dead runs, delivering what they have kept. At most it
takes some network.
"""

import logging
import threading
from pathlib import Path

from flowerml.runs.lifecycle.attempts import lease_owner
from flowerml.runs.lifecycle.late_run_id import note_run_id
from flowerml.runs.lifecycle.reap import reap_folder, run_folders
from flowerml.tracking import belongs_here, has_pending, sync_folder

logger = logging.getLogger(__name__)


def tidy_beside(runs_root: Path, own: Path) -> None:
    """Look after the runs below `runs_root` that were begun at the store that is set, from a thread that ends with the
    process.

    Of the folder `own`, only runs that were started over there: its own run is at work.
    """
    threading.Thread(target=_tidy, args=(runs_root, own), name="tidying", daemon=True).start()


def _tidy(runs_root: Path, own: Path) -> None:
    try:
        for root in {*run_folders(runs_root), own}:
            if not belongs_here(root):
                continue
            if root == own:
                sync_folder(root)
            elif not _tidied(root):
                return
    except Exception as error:  # the training must not hear of it
        logger.warning(f"{runs_root}: earlier runs could not be looked after ({error})")


def _tidied(root: Path) -> bool:
    """Close and deliver one. False where the server does not answer: others need not be tried."""
    who = lease_owner(root)
    if who is not None and not who.expired:
        return True
    found = reap_folder(root)
    if found is not None:
        logger.info(f"{root}: {found.reason}: closed as {found.status}")
    if not has_pending(root):
        return True
    done = sync_folder(root)
    note_run_id(root, done.run_id)
    if done.delivered and found is None:
        logger.info(f"{root}: {done.delivered} events of an earlier run delivered")
    return done.answered
