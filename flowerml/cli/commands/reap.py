"""`flowerml reap`: runs that say RUNNING and whose process is gone, closed in their folders and at the tracking server."""

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flowerml.errors import UserError
from flowerml.settings.flags import Parser

logger = logging.getLogger(__name__)


def run(argv: Sequence[str] | None) -> int:
    """Parse, close, list. Raises UserError. Exits 1 where something could not be closed or delivered."""
    parser = Parser(
        prog="flowerml reap",
        description=(
            "Close runs that say RUNNING and whose process is gone: KILLED, with the reason. Started again they still"
            " go on."
        ),
    )
    parser.add_argument(
        "--runs-root", metavar="PATH", help="the folder that holds the runs' own folders; default: runs"
    )
    parser.add_argument(
        "--silent-minutes",
        metavar="F",
        default="5",
        help="at the server, a run is dead after so long without a sign of life (they come twice a minute); default: 5",
    )
    parser.add_argument("--json", action="store_true", help="print what was closed as JSON on stdout")
    asked = parser.parse(argv)
    silent_minutes = _minutes(asked.silent_minutes)
    runs_root = Path(asked.runs_root or "runs")
    if asked.runs_root and not runs_root.is_dir():
        raise UserError(f"--runs-root {runs_root}: no such folder. Give the folder that holds the runs' own folders")

    from flowerml.tracking import close_stale_runs

    here = _close_folders(runs_root)
    for one in close_stale_runs(60 * silent_minutes, here.spared):
        here.add("", one.run_id, one.status, one.reason)
    if not here.closed and not here.left:
        logger.info("every run that says RUNNING has a living process")
    if asked.json:
        print(json.dumps({"closed": here.closed, "left": here.left}))
    return 1 if here.left else 0


@dataclass
class _Found:
    """What was closed, the folders of which something is left to do, the runs that the server must not be asked to
    close, and whether it answers.
    """

    closed: list[dict[str, str]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    spared: set[str] = field(default_factory=set)
    answered: bool = True

    def add(self, folder: str, run_id: str, status: str, reason: str) -> None:
        self.closed.append({"folder": folder, "run_id": run_id, "status": status, "reason": reason})
        logger.info(f"{folder or run_id}: {status}, {reason}")


def _close_folders(runs_root: Path) -> _Found:
    """Close what is dead below `runs_root`, and deliver what ended runs have kept: their end may be among it."""
    from flowerml.runs.lifecycle.attempts import lease_owner
    from flowerml.runs.lifecycle.reap import reap_folder, run_folders
    from flowerml.tracking import belongs_here, run_ids

    found = _Found()
    for root in run_folders(runs_root):
        who = lease_owner(root)
        if who is not None and not who.expired:
            found.spared |= set(run_ids(root))
            continue
        try:
            closed = reap_folder(root)
        except UserError as error:
            logger.warning(f"{root}: {error}")
            found.left.append(str(root))
            continue
        if (closed or belongs_here(root)) and (why := _undelivered(root, found)):
            logger.warning(f"{root}: {why}")
            found.left.append(str(root))
            found.spared |= set(run_ids(root))
        if closed:
            found.add(str(root), (run_ids(root) or [""])[-1], closed.status, closed.reason)
    return found


def _undelivered(root: Path, found: _Found) -> str:
    """Deliver what a folder has kept; why something of it is left, "" where nothing is."""
    from flowerml.runs.lifecycle.late_run_id import note_run_id
    from flowerml.tracking import belongs_here, has_pending, sync_folder

    if not has_pending(root):
        return ""
    if not belongs_here(root):
        return (
            f"it is recorded at another store: with MLFLOW_TRACKING_URI set to that one, `flowerml sync {root}`"
            " delivers its end"
        )
    if not found.answered:
        return "not delivered, as the server does not answer"
    done = sync_folder(root)
    found.answered = done.answered
    note_run_id(root, done.run_id)
    return f"{done.pending} events left: {done.why}" if done.why else ""


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 1 <= minutes <= 100_000:
        raise UserError(f"--silent-minutes is {text!r}. Allowed: number, >= 1, <= 100000")
    return minutes
