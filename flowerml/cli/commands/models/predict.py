"""`flowerml predict`: classify pictures of folders and tables; output as CSV, JSON or text."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flowerml.cli.arguments import parse_float
from flowerml.errors import UserError, one_line
from flowerml.evaluation.tta import TTA
from flowerml.files import check_writable, missing_reason, require_no_input, write_text
from flowerml.progress_bar import status, track
from flowerml.settings import resolve_setting
from flowerml.settings.flags import CommandParser
from flowerml.text import cut_list

if TYPE_CHECKING:
    from flowerml.prediction import Classifier
    from flowerml.prediction.files import FilePrediction

logger = logging.getLogger(__name__)


def make_parser() -> CommandParser:
    """The command's flags."""
    parser = CommandParser(
        prog="flowerml predict", description="Name the class of pictures, with a probability for each class."
    )
    parser.add_argument(
        "pictures",
        nargs="+",
        metavar="DIR",
        help="folders (looked through at any depth), single pictures, or tables (.csv) with a column path",
    )
    parser.add_argument(
        "--model",
        required=True,
        action="append",
        metavar="PATH",
        help="a delivered .pth (cnn_flowers.pth), or a run's best.pth; several times: their ensemble",
    )
    parser.add_argument(
        "--ensemble-weights", metavar="F,F", help="a positive number for each --model, in their order; default: equal"
    )
    parser.add_argument("--tta", choices=TTA, help="views of each picture to average over; default: the file's own")
    parser.add_argument(
        "--unknown", action="store_true", help="answer unknown for pictures less like the classes than known ones are"
    )
    parser.add_argument(
        "--csv", metavar="PATH", help="write image, predicted, p_<class>... into this file; an older one is replaced"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON on stdout")
    parser.add_argument("--device", metavar="TEXT", help="cpu, cuda, cuda:N or mps; default: the best there is")
    parser.add_argument(
        "--workers", metavar="INT", help="threads that read pictures while the model computes; default: by cores"
    )
    return parser


def run(argv: Sequence[str] | None) -> int:
    """Parse, predict, write. Raises UserError. Exits 1 if pictures could not be read: the others are predicted."""
    args = make_parser().parse(argv)
    workers = resolve_setting("workers", args.workers)
    target = None if args.csv is None else Path(args.csv)
    if target is not None:
        check_writable(target)  # before the work, not after it
    for path in args.model:
        if reason := missing_reason(Path(path)):
            raise UserError(f"--model {path}: {reason}. Allowed: a delivered .pth, or a run's best.pth")
    weights = _parse_weights(args.ensemble_weights, len(args.model))

    from flowerml.data.folders import passed_over_line
    from flowerml.data.sources.unlabelled import find_unlabelled

    paths, passed_over = find_unlabelled([Path(place) for place in args.pictures])
    if target is not None:
        require_no_input("--csv", target, [*map(Path, args.model), *map(Path, args.pictures), *paths])

    with status("loading PyTorch"):
        from flowerml.prediction.files import predict_files
        from flowerml.prediction.listing import prediction_lines, predictions_csv, predictions_json
        from flowerml.training.device import default_workers, use_device

    device = use_device(args.device)
    model = _load(args.model, weights, args.tta, str(device))
    if line := passed_over_line(passed_over):
        logger.info(line)
    threads = default_workers(device) if workers is None else workers
    predictions = predict_files(model, paths, threads, unknown=args.unknown)
    answers = list(track(predictions, f"predicting on {device}", total=len(paths)))
    if target is not None:
        write_text(target, predictions_csv(model.classes, answers))
    if args.json:
        print(json.dumps(predictions_json(model.classes, answers)))
    elif target is None:
        print("\n".join(prediction_lines(model.classes, answers)))
    return _log_summary(model.classes, answers, target)


def _parse_weights(text: str | None, models: int) -> list[float] | None:
    """The values of --ensemble-weights, None without. Raises UserError."""
    if text is None:
        return None
    words = text.split(",")
    if models < 2:
        raise UserError(f"--ensemble-weights {text} needs several models: give --model once for each, or leave it out")
    if len(words) != models:
        raise UserError(f"--ensemble-weights {text} has {len(words)} numbers for {models} models: give one for each")
    weights = [parse_float("--ensemble-weights", word, 0, 1e6) for word in words]
    if min(weights) == 0:
        raise UserError(f"--ensemble-weights {text} weighs a model with 0: leave out its --model instead")
    return weights


def _load(paths: Sequence[str], weights: Sequence[float] | None, tta: str | None, device: str) -> Classifier:
    """The model of one file, or the ensemble of several, with the views `tta` unless that is None. Raises UserError."""
    from flowerml.prediction import Ensemble, load_predictor

    models = [load_predictor(path, device) for path in paths]
    for path, model in zip(paths, models, strict=True):
        if tta is not None and tta != model.tta:
            if model.calibration is not None:
                logger.warning(
                    f"{path}: its temperature was fitted with --tta {model.tta}; for probabilities that are calibrated"
                    f" with {tta}, write a file with `flowerml export --tta {tta}`"
                )
            model.tta = tta
    return models[0] if len(models) == 1 else Ensemble(models, weights, paths)


def _log_summary(classes: Sequence[str], answers: Sequence[FilePrediction], target: Path | None) -> int:
    """What was found, and every file that can't be used, on stderr. Returns the exit code."""
    from flowerml.prediction import UNKNOWN
    from flowerml.prediction.listing import best_class

    good = Counter(best_class(classes, answer)[0] for answer in answers if answer.probabilities is not None)
    bad = [answer for answer in answers if answer.probabilities is None]
    counts = ", ".join(f"{one_line(name)} {good[name]}" for name in (*classes, UNKNOWN) if good[name])
    written = f"; written to {target}" if target is not None else ""
    logger.info(f"predicted {good.total()} of {len(answers)}{f': {counts}' if counts else ''}{written}")
    if bad:
        logger.info(f"can't be used ({len(bad)} of {len(answers)}):")
        lines = [one_line(f"{answer.path}: {answer.reason}") for answer in bad]
        logger.info("\n".join(f"  {line}" for line in cut_list(lines, "--json lists all")))
    return 1 if bad else 0
