"""`flowerml sync`: deliver events that runs recorded while the tracking server was away."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flowerml.errors import UserError
from flowerml.settings.flags import CommandParser

if TYPE_CHECKING:
    from flowerml.tracking import SyncResult

logger = logging.getLogger(__name__)


def make_parser() -> CommandParser:
    """The command's flags."""
    parser = CommandParser(
        prog="flowerml sync",
        description=(
            "Deliver to MLflow what runs have kept in their folders. Runs at work are passed over: they deliver by"
            " themselves."
        ),
    )
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="folders of runs (runs/X)")
    parser.add_argument(
        "--all", action="store_true", help="every run in the runs' folder that has something left to deliver"
    )
    parser.add_argument(
        "--runs-root", metavar="PATH", default="runs", help="the folder that --all looks through; default: runs"
    )
    return parser


def run(argv: Sequence[str] | None) -> int:
    """Parse, deliver, log one line per folder. Raises UserError. Exits 1 if something is left."""
    args = make_parser().parse(argv)
    if bool(args.folders) == args.all:
        raise UserError("say what to deliver: the folders of runs (flowerml sync runs/X ...), or --all")

    folders = [folder for name in args.folders for folder in _with_journals(Path(name))]
    if args.all:
        folders = _folders_with_pending(Path(args.runs_root))
        if not folders:
            logger.info(f"{args.runs_root}: everything is delivered")
    return _sync_folders(folders)


def _with_journals(folder: Path) -> list[Path]:
    """The folder, or those of the folds of a cross-validation in it. Raises UserError where there is no journal."""
    from flowerml.journal import find_fold_folders, find_journals

    found = [folder] if find_journals(folder) else find_fold_folders(folder)
    if not found:
        raise UserError(f"{folder} holds no journal of a run: name the --output-dir of a training, like runs/X")
    return found


def _folders_with_pending(runs_root: Path) -> list[Path]:
    from flowerml.journal import find_journals, find_run_folders, has_undelivered

    if not runs_root.is_dir():
        raise UserError(f"--runs-root {runs_root}: no such folder. Give the folder that holds the runs' own folders")
    return [
        root for root in find_run_folders(runs_root) if any(has_undelivered(folder) for folder in find_journals(root))
    ]


def _sync_folders(folders: Sequence[Path]) -> int:
    from flowerml.runs.lifecycle.attempts import lease_owner
    from flowerml.runs.lifecycle.late_run_id import note_run_id
    from flowerml.runs.lifecycle.reap import complete_finished_run
    from flowerml.tracking import sync_folder

    left = 0
    silent = ""
    for root in folders:
        who = lease_owner(root)
        if who is not None and not who.expired:
            logger.info(f"{root}: being worked on by {who}, which delivers by itself")
            continue
        complete_finished_run(root)
        if silent:
            logger.info(f"{root}: not tried, {silent}")
            left += 1
            continue
        done = sync_folder(root)
        note_run_id(root, done.run_id)
        logger.info(f"{root}: {_result_line(done)}")
        left += bool(done.pending or done.reason)
        silent = "" if done.server_answered else "as the server does not answer"
    return 1 if left else 0


def _result_line(done: "SyncResult") -> str:
    if done.reason:
        return f"{done.pending} events left, {done.delivered} delivered: {done.reason}"
    cut = "" if done.run_ended else "; the run was cut off: started again it goes on, and `flowerml reap` closes it"
    if done.delivered:
        return f"{done.delivered} events delivered to run {done.run_id}{cut}"
    return f"everything is at run {done.run_id} already{cut}"
