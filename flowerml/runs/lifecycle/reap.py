"""Runs whose process is gone, found by what lies in their folders, and closed there: KILLED, with the reason, to be
gone on with later.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from flowerml.errors import UserError
from flowerml.events import Ended, Status
from flowerml.journal import Journal, JournalEntry, RunStarted, find_journals, read_delivered
from flowerml.runs.lifecycle.lease import Lease, LeaseOwner, acquire, fenced_writes, lease_owner
from flowerml.runs.lifecycle.run_file import RUN_FILE, RunFile, read_run_file, write_run_file

logger = logging.getLogger(__name__)

_LEASE_S = 60.0


@dataclass(frozen=True)
class Reaped:
    """A run that was closed: its folder, its id at MLflow ("" where that is not known), its state now, and why."""

    root: Path
    run_id: str
    status: str
    reason: str


def run_folders(runs_root: Path) -> list[Path]:
    """The folders of runs below `runs_root`, by name. Raises UserError where there is no such folder."""
    try:
        return sorted(path.parent for path in runs_root.glob(f"*/{RUN_FILE}"))
    except OSError as error:
        raise UserError(f"{runs_root}: {error.strerror or error}") from error


def is_active(runs_root: Path) -> Iterator[Path]:
    """The folders of runs that somebody works on."""
    for root in run_folders(runs_root):
        who = lease_owner(root)
        if who is not None and not who.expired:
            yield root


def reap_folder(root: Path) -> Reaped | None:
    """Close the run in `root` where it has not come to its end and nobody works on it any more; None where that is not
    so.

    Raises:
        UserError: the folder can't be written to.
    """
    who = lease_owner(root)
    if who is None or not who.expired or not _is_open(root, who):
        return None
    try:
        attempt = acquire(root, _LEASE_S, closes=True)
    except UserError:
        if (now := lease_owner(root)) is not None and not now.expired:
            return None  # somebody was faster: to close it as well, or to go on with it
        raise
    with fenced_writes(attempt):
        standing = read_run_file(root)
        if standing is None or not _is_open(root, who):
            attempt.withdraw()
            return None
        ended, begun = _ended(attempt, who, standing)
        if begun:
            write_run_file(root, replace(standing, status=ended.status.value))
    return Reaped(
        root, standing.run_id if begun else read_delivered(attempt.folder).run_id, ended.status.value, ended.reason
    )


def _is_open(root: Path, who: LeaseOwner) -> bool:
    """Whether the run in `root`, which `who` was the last to work on, says RUNNING, or its journal has no end: its
    process may have died between the two.
    """
    standing = read_run_file(root)
    if standing is None or standing.status == "RUNNING" or who.released:  # whoever lets go has written both
        return standing is not None and standing.status == "RUNNING"
    try:
        return Journal(_newest_journal(root)).ended is None
    except OSError:
        return False


def _ended(attempt: Lease, who: LeaseOwner, standing: RunFile) -> tuple[Ended, bool]:
    """The end of the run, which stands in its journal afterwards; its time is that of the last sign of life. And
    whether the folder is this run's already: it may still be that of a run which was to be replaced.
    """
    gone, time = f"its process {who.pid} on {who.host} is gone", int(1000 * max(who.since, who.seen))
    killed = Ended(Status.KILLED, gone, time)
    try:
        journal = Journal.continue_from(_newest_journal(attempt.root), attempt.folder)
    except OSError:
        logger.warning(f"{attempt.root}: its journal can't be read; only the folder says that the run is over")
        return killed, True
    begun = standing.status == "RUNNING" or not all(
        isinstance(found, JournalEntry) and isinstance(found.record, RunStarted) for found in journal.records()
    )
    if journal.ended is not None:
        return journal.ended, begun  # it came as far as this
    ended = killed
    if begun and standing.status != "RUNNING":
        ended = Ended(Status(standing.status), "" if standing.status == Status.FINISHED else gone, time)
    journal.append(ended)
    return ended, begun


def _newest_journal(root: Path) -> Path:
    """Where the newest journal lies: an attempt that was ended early has none. Raises OSError where there is none at
    all.
    """
    found = find_journals(root)
    if not found:
        raise FileNotFoundError(root)
    return found[-1]
