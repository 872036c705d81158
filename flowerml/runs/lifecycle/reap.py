"""Close runs whose process is gone: KILLED in their folder and journal, with the reason; they can be resumed."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from flowerml.errors import UserError
from flowerml.events import Ended, Status
from flowerml.journal import Journal, JournalEntry, RunStarted, find_journals, find_run_folders, read_delivered
from flowerml.runs.lifecycle.attempts import LeaseOwner, lease_owner
from flowerml.runs.lifecycle.lease import Lease, acquire, fenced_writes
from flowerml.runs.lifecycle.leftovers import clear_leftovers
from flowerml.runs.lifecycle.run_file import RUN_FILE, RunFile, read_run_file, write_run_file

logger = logging.getLogger(__name__)

_LEASE_S = 60.0


@dataclass(frozen=True)
class ReapedRun:
    """A run that was closed: its folder, its MLflow run id ("" where not known), its status now, and why."""

    root: Path
    run_id: str
    status: str
    reason: str


def run_folders(runs_root: Path) -> list[Path]:
    """The run folders below `runs_root`, also those of folds, by name. Raises UserError where it can't be read."""
    try:
        return [path for path in find_run_folders(runs_root) if (path / RUN_FILE).is_file()]
    except OSError as error:
        raise UserError(f"{runs_root}: {error.strerror or error}") from error


def complete_finished_run(root: Path) -> None:
    """Complete the end of the run in `root` if its process ended while it wrote that it is FINISHED.

    Its journal gets its end, and its checkpoints go. Any other run stays as it is. Logs what fails.
    """
    run_file = read_run_file(root)
    if run_file is None or run_file.status != Status.FINISHED:
        return
    try:
        reap_folder(root)
    except UserError as error:
        logger.warning(f"{root}: the end of its finished run could not be completed ({error})")


def reap_folder(root: Path) -> ReapedRun | None:
    """Close the run in `root` if it has not ended and its lease has expired; None if there is nothing to close.

    The checkpoints of one that is FINISHED are removed, if there are any left.

    Raises:
        UserError: the folder can't be written to.
    """
    closed = _close(root)
    clear_leftovers(root)
    return closed


def _close(root: Path) -> ReapedRun | None:
    owner = lease_owner(root)
    if owner is None or not owner.expired or not _is_open(root, owner):
        return None
    try:
        lease = acquire(root, _LEASE_S, closes=True)
    except UserError:
        if (now := lease_owner(root)) is not None and not now.expired:
            return None  # another process was faster: it closes the run too, or resumes it
        raise
    with fenced_writes(lease):
        run_file = read_run_file(root)
        if run_file is None or not _is_open(root, owner):
            lease.withdraw()
            return None
        ended, has_begun = _end_journal(lease, owner, run_file)
        if has_begun:
            write_run_file(root, replace(run_file, status=ended.status.value))
    return ReapedRun(
        root, run_file.run_id if has_begun else read_delivered(lease.folder).run_id, ended.status.value, ended.reason
    )


def _is_open(root: Path, owner: LeaseOwner) -> bool:
    """Whether the run, last owned by `owner`, is RUNNING or its journal has no end.

    A process may have died between writing the two; one that released its lease has written both.
    """
    run_file = read_run_file(root)
    if run_file is None or run_file.status == "RUNNING" or owner.released:
        return run_file is not None and run_file.status == "RUNNING"
    try:
        return Journal(_latest_journal(root)).ended is None
    except OSError:
        return False


def _end_journal(lease: Lease, owner: LeaseOwner, run_file: RunFile) -> tuple[Ended, bool]:
    """The run's end, which its journal has afterwards, at the time of the last heartbeat; and whether it had begun.

    A run that had not begun has not replaced the earlier run in its folder: that run's `run.json` is still there.
    """
    gone, time = f"its process {owner.pid} on {owner.host} is gone", int(1000 * max(owner.since, owner.seen))
    killed = Ended(Status.KILLED, gone, time)
    try:
        journal = Journal.continue_from(_latest_journal(lease.root), lease.folder)
    except OSError:
        logger.warning(f"{lease.root}: its journal can't be read; only the folder says that the run is over")
        return killed, True
    has_begun = run_file.status == "RUNNING" or not all(
        isinstance(entry, JournalEntry) and isinstance(entry.record, RunStarted) for entry in journal.records()
    )
    if journal.ended is not None:
        return journal.ended, has_begun  # it came as far as this
    ended = killed
    if has_begun and run_file.status != "RUNNING":
        ended = Ended(Status(run_file.status), "" if run_file.status == Status.FINISHED else gone, time)
    journal.append(ended)
    return ended, has_begun


def _latest_journal(root: Path) -> Path:
    """The folder of the latest journal: an attempt that ended early has none. Raises OSError without any."""
    found = find_journals(root)
    if not found:
        raise FileNotFoundError(root)
    return found[-1]
