"""The folders of a sweep's runs: their owner, their values by epoch, and the delivery of their journals."""

import csv
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from flowerml.errors import UserError
from flowerml.journal import find_journals, has_undelivered
from flowerml.runs.lifecycle.attempts import lease_owner
from flowerml.runs.lifecycle.run_owner import foreign_owner
from flowerml.tracking import sync_folder

logger = logging.getLogger(__name__)

LOGS = "logs"
OUTPUTS = ("trials.csv", "trials.md", "history.png", "parallel.png", "importances.png")
_LONGEST_PAUSE_S = 30.0


def is_leased(folder: Path) -> bool:
    """Whether a process holds the lease of the run in a folder."""
    owner = lease_owner(folder)
    return owner is not None and not owner.expired


def values_by_epoch(folder: Path, monitor: str) -> dict[int, float]:
    """The column `monitor` of a run's `history.csv`, by epoch."""
    with (folder / "history.csv").open(encoding="utf-8") as handle:
        return {int(row["epoch"]): float(row[monitor]) for row in csv.DictReader(handle)}


def check_own_folder(folder: Path) -> None:
    """Check that a folder of the sweep's name, if there is one, is a sweep's: it has logs, or none of a sweep's files.

    Raises:
        UserError: it is somebody else's.
    """
    if (folder / LOGS).is_dir():
        return
    if found := next((name for name in OUTPUTS if (folder / name).exists()), None):
        raise UserError(
            f"{folder} holds a {found} of unknown origin: choose another --study or --runs-root, or move it away"
        )


def check_run_owners(folders: Sequence[Path], sweep: str) -> None:
    """Check that the runs in the folders are this sweep's: a study that was deleted and made again has the same names.

    Raises:
        UserError: a folder holds a run of another sweep.
    """
    for folder in folders:
        if foreign_owner(folder, sweep) is not None:
            raise UserError(
                f"{folder} holds a run of another study: choose another --study or --runs-root, or move it away"
            )


def deliver_journals(folders: Sequence[Path], tick: Callable[[], None], seconds: float) -> None:
    """Deliver what the tracking server has not got yet; wait up to so many seconds for one that is unreachable.

    `tick` is called while waiting; it may raise.
    """
    deadline, pause, announced = time.monotonic() + seconds, 0.5, False
    while pending := [folder for folder in folders if any(map(has_undelivered, find_journals(folder)))]:
        results = [sync_folder(folder) for folder in pending if not is_leased(folder)]
        incomplete = [result for result in results if result.pending or result.reason]
        if not incomplete:
            break
        if time.monotonic() > deadline:
            logger.warning(
                f"MLflow has not taken all of {len(incomplete)} runs ({incomplete[0].reason}):"
                " `flowerml sync --all` delivers the rest"
            )
            return
        if not announced:
            logger.info(f"waiting for MLflow to take what {len(incomplete)} runs have kept ({incomplete[0].reason})")
            announced = True
        _sleep(pause, tick)
        pause = min(_LONGEST_PAUSE_S, 2 * pause)


def _sleep(seconds: float, tick: Callable[[], None]) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        tick()
        time.sleep(0.3)
