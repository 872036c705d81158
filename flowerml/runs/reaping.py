"""Runs whose process is gone, found by what lies in their folders, and closed there: KILLED, with the reason, to be gone on with later."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from flowerml.console import warn
from flowerml.errors import UserError
from flowerml.events import Ended, Status
from flowerml.journal import Journal, journals
from flowerml.runs.claim import Attempt, Holder, claim, holder, writing
from flowerml.runs.folder import RUN_FILE, read_run_file, write_run_file

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


def living(runs_root: Path) -> Iterator[Path]:
    """The folders of runs that somebody works on."""
    for root in run_folders(runs_root):
        who = holder(root)
        if who is not None and not who.gone:
            yield root


def reap_folder(root: Path) -> Reaped | None:
    """Close the run in `root` where it says RUNNING and nobody works on it any more; None where that is not so.

    Raises:
        UserError: the folder can't be written to.
    """
    standing, who = read_run_file(root), holder(root)
    if standing is None or standing.status != "RUNNING" or who is None or not who.gone:
        return None
    try:
        attempt = claim(root, _LEASE_S)
    except UserError:
        if (now := holder(root)) is not None and not now.gone:
            return None  # somebody was faster: to close it as well, or to go on with it
        raise
    with writing(attempt):
        standing = read_run_file(root)
        if standing is None or standing.status != "RUNNING":
            attempt.withdraw()
            return None
        ended = _ended(attempt, who)
        write_run_file(root, replace(standing, status=ended.status.value))
    return Reaped(root, standing.run_id, ended.status.value, ended.reason)


def _ended(attempt: Attempt, who: Holder) -> Ended:
    """The end of the run, which stands in its journal afterwards; its time is that of the last sign of life."""
    ended = Ended(Status.KILLED, f"its process {who.pid} on {who.host} is gone", int(1000 * max(who.since, who.seen)))
    try:
        journal = Journal.passed_on(_journal_of(attempt), attempt.folder)
    except OSError:
        warn(f"{attempt.root}: its journal can't be read; only the folder says that the run is over")
        return ended
    if journal.ended is not None:
        return journal.ended  # it came as far as this
    journal.append(ended)
    return ended


def _journal_of(attempt: Attempt) -> Path:
    """Where the newest journal lies: an attempt that was ended early has none. Raises OSError where there is none at all."""
    found = journals(attempt.root)
    if not found:
        raise FileNotFoundError(attempt.root)
    return found[-1]
