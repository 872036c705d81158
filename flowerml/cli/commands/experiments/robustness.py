"""`flowerml robustness`: the accuracy of a flowers classifier on corrupted photos."""

import json
from collections.abc import Sequence
from pathlib import Path

from flowerml.cli.arguments import parse_int
from flowerml.errors import UserError
from flowerml.progress_bar import status
from flowerml.settings import resolve_setting
from flowerml.settings.flags import CommandParser


def make_parser() -> CommandParser:
    """The command's flags."""
    parser = CommandParser(
        prog="flowerml robustness",
        description=(
            "Accuracy of a flowers classifier on photos that are blurred, noisy, compressed, darker, brighter, rotated"
            " or squeezed, against the same photos clean."
        ),
    )
    parser.add_argument("weights", metavar="RUN_OR_PTH", help="a run's folder or its best.pth, or a delivered .pth")
    parser.add_argument("--output-dir", required=True, metavar="PATH", help="a new or empty folder for the result")
    parser.add_argument(
        "--train-dir", metavar="PATH", help="the folder of the validation photos; default: the one trained on"
    )
    parser.add_argument(
        "--test-dir", metavar="PATH", help="use every photo of this other folder; needed for a delivered .pth"
    )
    parser.add_argument(
        "--limit", metavar="N", help="at most N photos of each class, always the same ones; default: all"
    )
    parser.add_argument("--device", metavar="TEXT", help="cpu, cuda, cuda:N or mps; default: the best there is")
    parser.add_argument("--workers", metavar="INT", help="processes that load photos; default: by cores")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    parser.add_argument("--no-record", action="store_true", help="leave no run in MLflow")
    return parser


def run(argv: Sequence[str] | None) -> int:
    """Parse, measure, print. Raises UserError."""
    args = make_parser().parse(argv)
    workers = resolve_setting("workers", args.workers)
    limit = None if args.limit is None else parse_int("--limit", args.limit, 1, 10**6)
    if args.test_dir and args.train_dir:
        raise UserError(
            "--test-dir and --train-dir exclude each other: the first names pictures outside the split, the second"
            " those of it"
        )

    with status("loading PyTorch and MLflow"):
        from flowerml.runs.robustness import Request, run_robustness
        from flowerml.tracking import MlflowRecorder, default_experiment, start_child_run

    def open_child(parent: str | None, experiment: str, name: str) -> MlflowRecorder:
        return start_child_run(parent, default_experiment() or experiment, name, "robustness")

    report = run_robustness(
        Request(
            weights=Path(args.weights),
            output_dir=Path(args.output_dir),
            train_dir=Path(args.train_dir) if args.train_dir else None,
            test_dir=Path(args.test_dir) if args.test_dir else None,
            limit=limit,
            device=None if args.device == "auto" else args.device,
            workers=workers,
            run_id=_delivered_run_id(Path(args.weights)),
        ),
        None if args.no_record else open_child,
    )
    print(json.dumps(report.as_json()) if args.json else report.as_text())
    return 0


def _delivered_run_id(weights: Path) -> str:
    """The id of the training run that the manifest beside a delivered file names; "" without one."""
    from flowerml.delivery.manifest import unchanged_entries

    return str(unchanged_entries(weights.parent).get(weights.name, {}).get("run_id") or "")
