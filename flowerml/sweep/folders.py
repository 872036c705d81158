"""The folders of a sweep's runs: whose they are, what they hold, and whether the tracking server has all of it."""

import csv
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from flowerml.errors import UserError
from flowerml.events import Tags
from flowerml.journal import DamagedLine, Journal, find_journals, has_undelivered, read_delivered
from flowerml.runs.lifecycle.attempts import lease_owner
from flowerml.runs.lifecycle.run_file import read_run_file
from flowerml.tracking import sync_folder
from flowerml.tracking.search.campaigns import CAMPAIGN

logger = logging.getLogger(__name__)

_LONGEST_PAUSE_S = 30.0


def held(folder: Path) -> bool:
    """Whether somebody works on the run there."""
    who = lease_owner(folder)
    return who is not None and not who.expired


def run_id_of(folder: Path) -> str:
    """MLflow's id of the run in a folder; empty where it is not known (yet)."""
    found, here = find_journals(folder), read_run_file(folder)
    return (read_delivered(found[-1]).run_id if found else "") or (here.run_id if here else "")


def epochs_of(folder: Path, monitor: str) -> dict[int, float]:
    """What a run's `history.csv` has of `monitor`, by epoch."""
    with (folder / "history.csv").open(encoding="utf-8") as handle:
        return {int(row["epoch"]): float(row[monitor]) for row in csv.DictReader(handle)}


def require_own(folders: Sequence[Path], sweep: str) -> None:
    """Make sure that what lies in the folders is this sweep's: a study that was made anew has the same names again.

    Raises:
        UserError: a folder holds a run of somebody else.
    """
    for folder in folders:
        if read_run_file(folder) is None:
            continue
        found = find_journals(folder)
        tags = _tags(found[-1]) if found else {}
        if tags.get(CAMPAIGN) != sweep and (
            tags or not found
        ):  # without any, it was cut off before it had said whose it is
            raise UserError(
                f"{folder} holds a run of another study: choose another --study or --runs-root, or move it away"
            )


def deliver(folders: Sequence[Path], beat: Callable[[], None], seconds: float) -> None:
    """Bring to the tracking server what it was not there to take; a server that is away is waited for, so many seconds.
    `beat` is called meanwhile.
    """
    until, pause, told = time.monotonic() + seconds, 0.5, False
    while left := [folder for folder in folders if any(map(has_undelivered, find_journals(folder)))]:
        done = [sync_folder(folder) for folder in left if not held(folder)]
        kept = [one for one in done if one.pending or one.reason]
        if not kept:
            break
        if time.monotonic() > until:
            logger.warning(
                f"MLflow has not taken all of {len(kept)} runs ({kept[0].reason}): `flowerml sync --all` delivers the rest"
            )
            return
        if not told:
            logger.info(f"waiting for MLflow to take what {len(kept)} runs have kept ({kept[0].reason})")
            told = True
        _pause(pause, beat)
        pause = min(_LONGEST_PAUSE_S, 2 * pause)


def _pause(seconds: float, beat: Callable[[], None]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        beat()
        time.sleep(0.3)


def _tags(journal: Path) -> dict[str, str]:
    tags: dict[str, str] = {}
    for found in Journal(journal).records():
        if not isinstance(found, DamagedLine) and isinstance(found.record, Tags):
            tags |= found.record.values
    return tags
