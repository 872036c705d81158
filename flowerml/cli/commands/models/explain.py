"""`flowerml explain`: heat maps of where a classifier looks."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from flowerml.errors import UserError, one_line
from flowerml.files import check_writable, missing_reason, removed_if_empty, require_empty_dir
from flowerml.progress_bar import status
from flowerml.settings.flags import CommandParser

logger = logging.getLogger(__name__)


def make_parser() -> CommandParser:
    """The command's flags."""
    parser = CommandParser(
        prog="flowerml explain",
        description="Draw which parts of a picture raise a classifier's logit of the class that it predicts.",
    )
    parser.add_argument("weights", metavar="WEIGHTS", help="a delivered .pth, or a run's folder or its best.pth")
    parser.add_argument(
        "pictures",
        nargs="+",
        metavar="PICTURE",
        help="pictures, folders (looked through at any depth), tables with a column path",
    )
    parser.add_argument("--output-dir", required=True, metavar="PATH", help="a new or empty folder for the result")
    parser.add_argument("--device", metavar="TEXT", help="cpu, cuda, cuda:N or mps; default: the best there is")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    return parser


def run(argv: Sequence[str] | None) -> int:
    """Parse, explain, print. Raises UserError. Exits 1 if pictures could not be read: the others are explained."""
    args = make_parser().parse(argv)
    folder, weights = Path(args.output_dir), Path(args.weights)
    weights = weights / "best.pth" if weights.is_dir() else weights
    require_empty_dir("--output-dir", folder)
    existed = folder.exists()
    if reason := missing_reason(weights):
        raise UserError(f"{weights}: {reason}. Allowed: a delivered .pth, or a run's best.pth")

    from flowerml.data.folders import passed_over_line
    from flowerml.data.sources.unlabelled import find_unlabelled

    paths, passed_over = find_unlabelled([Path(place) for place in args.pictures])

    with status("loading PyTorch"):
        from flowerml.prediction import load_predictor
        from flowerml.prediction.explain import PAGE, explain_pictures
        from flowerml.training.device import use_device

    model = load_predictor(weights, str(use_device(None if args.device == "auto" else args.device)))
    if line := passed_over_line(passed_over):
        logger.info(line)
    with removed_if_empty(folder):
        check_writable(folder / PAGE)  # makes the folder: after the checks, before the work
        results = explain_pictures(model, paths, folder, f"Where {weights.name} looks")
    if args.json:
        rows = [
            {
                "image": str(one.path),
                "predicted": one.predicted or None,
                "probability": one.probability if one.overlay else None,
                "overlay": str(one.overlay) if one.overlay else None,
                "error": one.reason or None,
            }
            for one in results
        ]
        print(json.dumps(rows))
    else:
        for one in results:
            if one.overlay:
                print(one_line(f"{one.path}: {one.predicted} {one.probability:.1%}, {one.overlay}"))
    bad = [one for one in results if one.overlay is None]
    for one in bad:
        logger.warning(one_line(f"{one.path}: {one.reason}"))
    if len(bad) == len(results) and not existed:
        folder.rmdir()  # nothing was written
    return 1 if bad else 0
