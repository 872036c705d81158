"""`flowerml reap`: close runs whose status is RUNNING but whose process is gone, locally and at the server."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flowerml.cli.arguments import parse_float
from flowerml.errors import UserError
from flowerml.settings.flags import CommandParser

logger = logging.getLogger(__name__)


def make_parser() -> CommandParser:
    """The command's flags."""
    parser = CommandParser(
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
    return parser


def run(argv: Sequence[str] | None) -> int:
    """Parse, close, list. Raises UserError. Exits 1 if something could not be closed or delivered."""
    args = make_parser().parse(argv)
    silent_minutes = parse_float("--silent-minutes", args.silent_minutes, 1, 100_000)
    runs_root = Path(args.runs_root or "runs")
    if args.runs_root and not runs_root.is_dir():
        raise UserError(f"--runs-root {runs_root}: no such folder. Give the folder that holds the runs' own folders")

    from flowerml.tracking import close_stale_runs

    here = _reap_folders(runs_root)
    for one in close_stale_runs(60 * silent_minutes, here.spared):
        here.add("", one.run_id, one.status, one.reason)
    if not here.closed and not here.left:
        logger.info("every run that says RUNNING has a living process")
    if args.json:
        print(json.dumps({"closed": here.closed, "left": here.left}))
    return 1 if here.left else 0


@dataclass
class _ReapReport:
    """Runs that were closed, folders with work left, run ids to leave alone at the server, and whether it answers."""

    closed: list[dict[str, str]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    spared: set[str] = field(default_factory=set)
    answered: bool = True

    def add(self, folder: str, run_id: str, status: str, reason: str) -> None:
        self.closed.append({"folder": folder, "run_id": run_id, "status": status, "reason": reason})
        logger.info(f"{folder or run_id}: {status}, {reason}")


def _reap_folders(runs_root: Path) -> _ReapReport:
    """Close dead runs below `runs_root`, and deliver the journals of ended ones, which may hold their final status."""
    from flowerml.runs.lifecycle.attempts import lease_owner
    from flowerml.runs.lifecycle.reap import reap_folder, run_folders
    from flowerml.tracking import belongs_to_current_store, delivered_run_ids

    found = _ReapReport()
    for root in run_folders(runs_root):
        who = lease_owner(root)
        if who is not None and not who.expired:
            found.spared |= set(delivered_run_ids(root))
            continue
        try:
            closed = reap_folder(root)
        except UserError as error:
            logger.warning(f"{root}: {error}")
            found.left.append(str(root))
            continue
        if (closed or belongs_to_current_store(root)) and (why := _deliver_pending(root, found)):
            logger.warning(f"{root}: {why}")
            found.left.append(str(root))
            found.spared |= set(delivered_run_ids(root))
        if closed:
            found.add(str(root), (delivered_run_ids(root) or [""])[-1], closed.status, closed.reason)
    return found


def _deliver_pending(root: Path, found: _ReapReport) -> str:
    """Deliver a folder's pending events. Returns why some are left; "" if none are."""
    from flowerml.runs.lifecycle.late_run_id import note_run_id
    from flowerml.tracking import belongs_to_current_store, has_pending, sync_folder

    if not has_pending(root):
        return ""
    if not belongs_to_current_store(root):
        return (
            f"it is recorded at another store: with MLFLOW_TRACKING_URI set to that one, `flowerml sync {root}`"
            " delivers its end"
        )
    if not found.answered:
        return "not delivered, as the server does not answer"
    done = sync_folder(root)
    found.answered = done.server_answered
    note_run_id(root, done.run_id)
    return f"{done.pending} events left: {done.reason}" if done.reason else ""
