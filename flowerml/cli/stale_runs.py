"""Close stale runs and deliver their journals in the background of a training."""

import logging
import threading
from pathlib import Path

from flowerml.runs.lifecycle.attempts import lease_owner
from flowerml.runs.lifecycle.late_run_id import note_run_id
from flowerml.runs.lifecycle.reap import reap_folder, run_folders
from flowerml.tracking import belongs_to_current_store, has_pending, sync_folder

logger = logging.getLogger(__name__)


def close_stale_runs_in_background(runs_root: Path, own: Path) -> None:
    """Close and deliver runs below `runs_root` that belong to the current store, in a daemon thread.

    In the folder `own` only journals of earlier, restarted runs are delivered: its latest run is the active one.
    """
    threading.Thread(target=_close_stale_runs, args=(runs_root, own), name="stale-runs", daemon=True).start()


def _close_stale_runs(runs_root: Path, own: Path) -> None:
    try:
        for root in {*run_folders(runs_root), own}:
            if not belongs_to_current_store(root):
                continue
            if root == own:
                sync_folder(root)
            elif not _close_and_deliver(root):
                return
    except Exception as error:  # must not affect the training
        logger.warning(f"{runs_root}: earlier runs could not be looked after ({error})")


def _close_and_deliver(root: Path) -> bool:
    """Close and deliver one run. Returns False if the server does not answer, so that the others need not be tried."""
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
    return done.server_answered
