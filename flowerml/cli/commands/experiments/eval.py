"""`flowerml eval`: evaluate a checkpoint on its own split or on another folder."""

import json
from collections.abc import Sequence
from pathlib import Path

from flowerml.cli.arguments import parse_float
from flowerml.errors import UserError
from flowerml.evaluation.tta import TTA
from flowerml.progress_bar import status
from flowerml.settings import resolve_setting
from flowerml.settings.flags import CommandParser


def make_parser() -> CommandParser:
    """The command's flags."""
    parser = CommandParser(
        prog="flowerml eval", description="Evaluate a checkpoint. The split is the one stored in it, never a new draw."
    )
    parser.add_argument("--checkpoint", required=True, metavar="PATH", help="a run's best.pth, or a delivered .pth")
    parser.add_argument(
        "--split", choices=("train", "val", "all"), default="val", help="part of the stored split; default: val"
    )
    parser.add_argument("--train-dir", metavar="PATH", help="the pictures' folder; default: the one trained on")
    parser.add_argument("--test-dir", metavar="PATH", help="evaluate every picture of this other folder instead")
    parser.add_argument("--device", metavar="TEXT", help="cpu, cuda, cuda:N or mps; default: the best there is")
    parser.add_argument("--workers", metavar="INT", help="processes that load pictures; default: by cores")
    parser.add_argument(
        "--logit-adjustment",
        metavar="F",
        default="0",
        help=(
            "take this times the log of each class's training share off its logit (0 to 10; 1: as if all were as"
            " frequent); default: 0"
        ),
    )
    parser.add_argument(
        "--tta",
        choices=TTA,
        help="views of each picture to average over, compared with none; default: the file's own",
    )
    parser.add_argument("--json", action="store_true", help="print the scores as JSON on stdout")
    return parser


def run(argv: Sequence[str] | None) -> int:
    """Parse, evaluate, print. Raises UserError."""
    args = make_parser().parse(argv)
    workers = resolve_setting("workers", args.workers)
    adjustment = parse_float("--logit-adjustment", args.logit_adjustment, 0, 10)
    if args.test_dir and args.train_dir:
        raise UserError(
            "--test-dir and --train-dir exclude each other: the first names pictures outside the split, the second"
            " those of it"
        )

    with status("loading PyTorch and MLflow"):
        from flowerml.evaluation.metrics import format_scores
        from flowerml.runs.evaluate import Request, run_evaluation
        from flowerml.tracking import default_experiment, start_child_run

    request = Request(
        checkpoint=Path(args.checkpoint),
        split=args.split,
        folder=Path(args.train_dir) if args.train_dir else None,
        test_dir=Path(args.test_dir) if args.test_dir else None,
        device=args.device,
        workers=workers,
        logit_adjustment=adjustment,
        tta=args.tta,
    )
    chosen = default_experiment()
    evaluation = run_evaluation(
        request, lambda parent, experiment, name: start_child_run(parent, chosen or experiment, name, "eval")
    )
    if args.json:
        result = {
            "run_id": evaluation.run_id,
            "split": evaluation.part,
            "changes": list(evaluation.changes),
            **evaluation.scores.as_json(),
            **evaluation.calibrated,
        }
        if evaluation.gain is not None:
            result["tta"] = {"views": evaluation.tta, **evaluation.gain.as_json()}
        print(json.dumps(result))
    else:
        print(format_scores(evaluation.scores, evaluation.headline))
        if evaluation.gain is not None:
            print(f"\n{evaluation.gain.line(f'views {evaluation.tta}')}")
        if evaluation.calibrated:
            share = evaluation.calibrated.get("unknown_share")
            print(
                "\ncalibrated: loss {calibrated_loss:.4f}, calibration error {calibrated_error:.4f}; sets for 95 %"
                " hold the true class of {set_coverage:.1%} and have {set_size:.2f} names".format(
                    **evaluation.calibrated
                )
                + ("" if share is None else f"; {share:.1%} would count as unknown")
            )
    return 0
