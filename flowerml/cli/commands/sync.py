"""`flowerml sync`: what runs have kept while the tracking server was away, brought there."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flowerml.errors import UserError
from flowerml.settings.flags import Parser

if TYPE_CHECKING:
    from flowerml.tracking import SyncResult

logger = logging.getLogger(__name__)


def run(argv: Sequence[str] | None) -> int:
    """Parse, deliver, a line for each folder. Raises UserError. Exits 1 where something is left."""
    parser = Parser(
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
    asked = parser.parse(argv)
    if bool(asked.folders) == asked.all:
        raise UserError("say what to deliver: the folders of runs (flowerml sync runs/X ...), or --all")

    from flowerml.journal import journals

    folders = [Path(name) for name in asked.folders]
    for folder in folders:
        if not journals(folder):
            raise UserError(f"{folder} holds no journal of a run: name the --output-dir of a training, like runs/X")
    if asked.all:
        folders = _undelivered(Path(asked.runs_root))
        if not folders:
            logger.info(f"{asked.runs_root}: everything is delivered")
    return _sync(folders)


def _undelivered(runs_root: Path) -> list[Path]:
    from flowerml.journal import has_undelivered, journals

    if not runs_root.is_dir():
        raise UserError(f"--runs-root {runs_root}: no such folder. Give the folder that holds the runs' own folders")
    return [root for root in sorted(runs_root.iterdir()) if any(has_undelivered(folder) for folder in journals(root))]


def _sync(folders: Sequence[Path]) -> int:
    from flowerml.runs.lifecycle.attempts import lease_owner
    from flowerml.runs.lifecycle.late_run_id import note_run_id
    from flowerml.tracking import sync_folder

    left = 0
    silent = ""
    for root in folders:
        who = lease_owner(root)
        if who is not None and not who.expired:
            logger.info(f"{root}: being worked on by {who}, which delivers by itself")
            continue
        if silent:
            logger.info(f"{root}: not tried, {silent}")
            left += 1
            continue
        done = sync_folder(root)
        note_run_id(root, done.run_id)
        logger.info(f"{root}: {_words(done)}")
        left += bool(done.pending or done.why)
        silent = "" if done.answered else "as the server does not answer"
    return 1 if left else 0


def _words(done: "SyncResult") -> str:
    if done.why:
        return f"{done.pending} events left, {done.delivered} delivered: {done.why}"
    cut = "" if done.ended else "; the run was cut off: started again it goes on, and `flowerml reap` closes it"
    if done.delivered:
        return f"{done.delivered} events delivered to run {done.run_id}{cut}"
    return f"everything is at run {done.run_id} already{cut}"
