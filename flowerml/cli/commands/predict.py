"""`flowerml predict`: classify every picture in a folder; output as CSV, JSON or text."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flowerml.errors import UserError, one_line
from flowerml.files import check_writable, missing_reason
from flowerml.progress_bar import track
from flowerml.settings.flags import CommandParser
from flowerml.text import cut_list

if TYPE_CHECKING:
    from flowerml.prediction.files import FilePrediction

logger = logging.getLogger(__name__)


def run(argv: Sequence[str] | None) -> int:
    """Parse, predict, write. Raises UserError. Exits 1 if pictures could not be read: the others are predicted."""
    parser = CommandParser(
        prog="flowerml predict", description="Name the class of pictures, with a probability for each class."
    )
    parser.add_argument(
        "pictures", nargs="+", metavar="DIR", help="folders (looked through at any depth) or single pictures"
    )
    parser.add_argument(
        "--model", required=True, metavar="PATH", help="a delivered .pth (cnn_flowers.pth), or a run's best.pth"
    )
    parser.add_argument(
        "--csv", metavar="PATH", help="write image, predicted, p_<class>... into this file; an older one is replaced"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON on stdout")
    parser.add_argument("--device", metavar="TEXT", help="cpu, cuda, cuda:N or mps; default: the best there is")
    args = parser.parse(argv)
    target = None if args.csv is None else Path(args.csv)
    if target is not None:
        check_writable(target)  # before the work, not after it
    if reason := missing_reason(Path(args.model)):
        raise UserError(f"--model {args.model}: {reason}. Allowed: a delivered .pth, or a run's best.pth")

    from flowerml.data.folders import find_pictures, passed_over_line

    paths, passed_over = find_pictures([Path(place) for place in args.pictures])

    from flowerml.prediction import load_predictor
    from flowerml.prediction.files import predict_files
    from flowerml.training.device import pick_device

    device = pick_device(args.device)
    model = load_predictor(args.model, str(device))
    if line := passed_over_line(passed_over):
        logger.info(line)
    answers = list(track(predict_files(model, paths), f"predicting on {device}", total=len(paths)))
    if target is not None:
        _write_predictions_csv(target, model.classes, answers)
    if args.json:
        print(json.dumps(_predictions_json(model.classes, answers)))
    elif target is None:
        print("\n".join(_prediction_lines(model.classes, answers)))
    return _log_summary(model.classes, answers, target)


def _write_predictions_csv(path: Path, classes: Sequence[str], answers: Sequence[FilePrediction]) -> None:
    from flowerml.files import write_text

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "predicted", *(f"p_{name}" for name in classes)])
    for answer in answers:
        if answer.probabilities is not None:
            writer.writerow(
                [
                    answer.path,
                    _best_class(classes, answer.probabilities)[0],
                    *(f"{share:.9g}" for share in answer.probabilities),
                ]
            )
    write_text(path, text.getvalue())


def _predictions_json(classes: Sequence[str], answers: Sequence[FilePrediction]) -> dict[str, object]:
    good = [(str(answer.path), answer.probabilities) for answer in answers if answer.probabilities is not None]
    pictures = [
        {
            "image": path,
            "predicted": _best_class(classes, shares)[0],
            "probabilities": dict(zip(classes, shares, strict=True)),
        }
        for path, shares in good
    ]
    bad = [{"image": str(answer.path), "reason": answer.reason} for answer in answers if answer.probabilities is None]
    return {"classes": list(classes), "pictures": pictures, "bad": bad}


def _prediction_lines(classes: Sequence[str], answers: Sequence[FilePrediction]) -> list[str]:
    """A line for each picture: its class, how sure the model is, its path."""
    names = [one_line(name) for name in classes]
    width = max(map(len, names))
    best = [
        (*_best_class(names, answer.probabilities), one_line(str(answer.path)))
        for answer in answers
        if answer.probabilities is not None
    ]
    return [f"{name:<{width}}  {share:.3f}  {path}" for name, share, path in best]


def _best_class(classes: Sequence[str], shares: Sequence[float]) -> tuple[str, float]:
    place = max(range(len(classes)), key=shares.__getitem__)
    return classes[place], shares[place]


def _log_summary(classes: Sequence[str], answers: Sequence[FilePrediction], target: Path | None) -> int:
    """What was found, and every file that can't be used, on stderr. Returns the exit code."""
    good = Counter(
        _best_class(classes, answer.probabilities)[0] for answer in answers if answer.probabilities is not None
    )
    bad = [answer for answer in answers if answer.probabilities is None]
    counts = ", ".join(f"{one_line(name)} {good[name]}" for name in classes if good[name])
    written = f"; written to {target}" if target is not None else ""
    logger.info(f"predicted {good.total()} of {len(answers)}{f': {counts}' if counts else ''}{written}")
    if bad:
        logger.info(f"can't be used ({len(bad)} of {len(answers)}):")
        lines = [one_line(f"{answer.path}: {answer.reason}") for answer in bad]
        logger.info("\n".join(f"  {line}" for line in cut_list(lines, "--json lists all")))
    return 1 if bad else 0
