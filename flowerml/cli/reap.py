"""`flowerml reap`: runs that say RUNNING and whose process is gone, closed in their folders and at the tracking server."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from flowerml.console import say, warn
from flowerml.errors import UserError
from flowerml.settings.flags import Parser


def run(argv: Sequence[str] | None) -> int:
    """Parse, close, list. Raises UserError. Exits 1 where something could not be closed or delivered."""
    parser = Parser(
        prog="flowerml reap",
        description="Close runs that say RUNNING and whose process is gone: KILLED, with the reason. Started again they still go on.",
    )
    parser.add_argument("--runs-root", metavar="PATH", default="runs", help="the folder that holds the runs' own folders; default: runs")
    parser.add_argument(
        "--silent-minutes",
        metavar="F",
        default="5",
        help="at the server, a run is dead after so long without a sign of life (they come twice a minute); default: 5",
    )
    parser.add_argument("--json", action="store_true", help="print what was closed as JSON on stdout")
    asked = parser.parse(argv)
    silent_minutes = _minutes(asked.silent_minutes)
    runs_root = Path(asked.runs_root)

    from flowerml.runs.delivered import note_run_id
    from flowerml.runs.reaping import living, reap_folder, run_folders
    from flowerml.tracking import reap_server, run_ids, sync_folder

    closed: list[dict[str, str]] = []
    left: list[str] = []
    for root in run_folders(runs_root):
        try:
            found = reap_folder(root)
        except UserError as error:
            warn(f"{root}: {error}")
            left.append(str(root))
            continue
        if found is None:
            continue
        done = sync_folder(root)
        note_run_id(root, done.run_id)
        if done.why:
            warn(f"{root}: {done.left} events left: {done.why}")
            left.append(str(root))
        closed.append({"folder": str(root), "run_id": done.run_id, "status": found.status, "reason": found.reason})
    alive = {run_id for root in living(runs_root) for run_id in run_ids(root)}
    closed += [
        {"folder": "", "run_id": one.run_id, "status": one.status, "reason": one.reason} for one in reap_server(60 * silent_minutes, alive)
    ]
    for entry in closed:
        say(f"{entry['folder'] or entry['run_id']}: {entry['status']}, {entry['reason']}")
    if not closed and not left:
        say("every run that says RUNNING has a living process")
    if asked.json:
        print(json.dumps({"closed": closed, "left": left}))
    return 1 if left else 0


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 1 <= minutes <= 100_000:
        raise UserError(f"--silent-minutes is {text!r}. Allowed: number, >= 1, <= 100000")
    return minutes
