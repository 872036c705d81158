"""`flowerml export`: write the weights, the single file that loads them and a manifest, then verify them."""

import argparse
import json
import logging
import re
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flowerml.data.sources.forms import has_pictures_at
from flowerml.errors import RunFailed, UserError
from flowerml.evaluation.tta import TTA
from flowerml.files import removed_if_empty
from flowerml.progress_bar import status
from flowerml.settings.flags import CommandParser

if TYPE_CHECKING:
    from flowerml.delivery.export import Delivery, Source
    from flowerml.delivery.verify import Expected

logger = logging.getLogger(__name__)

FAMILIES = ("cnn", "vit")


def make_parser() -> CommandParser:
    """The command's flags."""
    parser = CommandParser(
        prog="flowerml export",
        description=(
            "Write cnn_flowers.pth, vit_flowers.pth, flowers_classifier.py, MANIFEST.json and MODEL_CARD.md, then check"
            " the weights in a fresh process; with --format in other formats too."
        ),
    )
    parser.add_argument("--family", choices=(*FAMILIES, "both"), help="which champions to export; default: both")
    parser.add_argument("--alias", metavar="TEXT", help="which registered version; default: champion")
    parser.add_argument(
        "--version", metavar="INT", help="which registered version, by its number (with --family cnn or vit)"
    )
    own = "a run's best.pth instead of a registered version; once, or once per family"
    parser.add_argument("--checkpoint", action="append", default=[], metavar="PATH", help=own)
    parser.add_argument("--output-dir", default=".", metavar="PATH", help="where the files go; default: here")
    photos = (
        "the pictures' folder, where labels are compared with predictions.csv; default: the one trained on, if it is"
        " there"
    )
    parser.add_argument("--train-dir", metavar="PATH", help=photos)
    parser.add_argument("--zip", metavar="FILE", help="also pack everything into this archive")
    parser.add_argument(
        "--half", action="store_true", help="store the weights in fp16: half the size, computed with in fp32"
    )
    parser.add_argument(
        "--tta",
        choices=TTA,
        help="test-time views that the files apply in every prediction; default: those that the weights have",
    )
    formats = "also write onnx, openvino or torch-export, each checked against the run; repeat it or use commas"
    parser.add_argument("--format", action="append", default=[], metavar="TEXT", help=formats)
    parser.add_argument(
        "--int8",
        nargs="?",
        const="dynamic",
        choices=("dynamic", "static"),
        help=(
            "with --format onnx, also an int8 file: dynamic (the default) has int8 matrix products, static also int8"
            " convolutions, with ranges from validation photos"
        ),
    )
    parser.add_argument("--json", action="store_true", help="print what was written and found as JSON on stdout")
    return parser


def run(argv: Sequence[str] | None) -> int:
    """Parse, fetch, write, verify. Raises UserError; RunFailed if the files were written and a check failed."""
    args = make_parser().parse(argv)
    _check_export_flags(args)

    from flowerml.delivery.formats.request import parse_request

    formats = parse_request(args.format, args.int8)

    with status("loading PyTorch"):
        from flowerml.delivery.export import Precision, export
        from flowerml.delivery.formats.report import table_lines

    folder = Path(args.output_dir)
    with removed_if_empty(folder), tempfile.TemporaryDirectory() as scratch:
        sources = _sources_from_checkpoints(args) if args.checkpoint else _sources_from_registry(args, Path(scratch))
        precision = Precision.HALF if args.half else Precision.FULL
        archive = Path(args.zip) if args.zip else None
        delivery = export(sources, folder, precision=precision, archive=archive, tta=args.tta, formats=formats)
    if args.json:
        print(json.dumps(_export_json(delivery)))
    else:
        lines = [line for check in delivery.checks for line in check.lines]
        lines += [line for checks in delivery.format_checks.values() for line in table_lines(checks)]
        print("\n".join(lines))
    if delivery.problems:
        raise RunFailed(f"{folder} must not be handed on: {'; '.join(delivery.problems)}")
    logger.info(
        f"{folder.resolve()} holds the delivery: {', '.join(_delivered_names(delivery))}, MANIFEST.json, MODEL_CARD.md"
    )
    return 0


def _delivered_names(delivery: "Delivery") -> list[str]:
    from flowerml.delivery.manifest import code_files

    return [*sorted(delivery.entries), *sorted(delivery.formats), *code_files(delivery.formats)]


def _check_export_flags(args: argparse.Namespace) -> None:
    if args.checkpoint and (args.alias or args.version or args.family):
        raise UserError(
            "--checkpoint names the weights: leave out --family, --alias and --version, which name a registered version"
        )
    if args.alias and args.version:
        raise UserError("--alias and --version each name a version: give one of them")
    if args.version and not re.fullmatch(r"[1-9][0-9]{0,9}", args.version):
        raise UserError(f"--version is {args.version!r}. Allowed: whole number, >= 1")
    if args.version and args.family not in FAMILIES:
        raise UserError("--version is one model's: say whose with --family cnn or --family vit")
    if args.train_dir and not has_pictures_at(args.train_dir):
        raise UserError(
            f"--train-dir {args.train_dir}: no such folder. Name the one the run was trained on, or leave it out"
        )
    if args.half and args.format:
        raise UserError("--half is a form of the .pth, and --format writes fp32: export them into two folders")
    if args.zip and Path(args.zip).suffix != ".zip":
        raise UserError(f"--zip is {args.zip!r}. Allowed: a file name that ends in .zip")


def _sources_from_checkpoints(args: argparse.Namespace) -> "list[Source]":
    from flowerml.delivery.export import Source
    from flowerml.delivery.robustness_result import find_robustness, tracked_robustness
    from flowerml.runs.lifecycle.run_file import read_run_file
    from flowerml.tracking.search.robustness import fetch_robustness
    from flowerml.training.checkpoints.checkpoint import load_checkpoint

    sources = []
    for path in map(Path, args.checkpoint):
        checkpoint = load_checkpoint(path)
        standing = read_run_file(path.parent)
        probe, predictions = (_there(path.parent / name) for name in ("probe.npz", "predictions.csv"))
        expected = _expected_predictions(args, probe, predictions, checkpoint.settings.get("train_dir"))
        origin = {"run_id": standing.run_id if standing else None}
        robustness = find_robustness(path.parent, path)
        if robustness is None and standing is not None and standing.run_id:
            robustness = tracked_robustness(checkpoint, partial(fetch_robustness, briefly=True))
        sources.append(Source(path, expected, origin, robustness))
    return sources


def _sources_from_registry(args: argparse.Namespace, scratch: Path) -> "list[Source]":
    from flowerml.delivery.export import Source
    from flowerml.delivery.robustness_result import tracked_robustness
    from flowerml.tracking import fetch_registered
    from flowerml.tracking.search.robustness import fetch_robustness
    from flowerml.training.checkpoints.checkpoint import load_checkpoint

    sources = []
    for family in FAMILIES if args.family in (None, "both") else (args.family,):
        found = fetch_registered(family, scratch / family, alias=args.alias or "champion", version=args.version)
        logger.info(f"{found.name}, version {found.version}, of run {found.run_id[:8]}")
        origin = {"run_id": found.run_id, "registered_model": found.name, "version": found.version}
        expected = _expected_predictions(args, found.probe, found.predictions, found.train_dir)
        robustness = tracked_robustness(load_checkpoint(found.weights), fetch_robustness)
        sources.append(Source(found.weights, expected, origin, robustness))
    return sources


def _expected_predictions(
    args: argparse.Namespace, probe: Path | None, predictions: Path | None, trained_on: str | Path | None
) -> "Expected":
    """What the run recorded, and where its pictures lie: in the folder named, else where it was trained, if that is on
    this machine.
    """
    from flowerml.delivery.verify import Expected

    folder = args.train_dir or trained_on
    return Expected(probe, predictions, Path(folder) if folder and has_pictures_at(folder) else None)


def _there(path: Path) -> Path | None:
    return path if path.is_file() else None


def _export_json(delivery: "Delivery") -> dict[str, object]:
    checks = [
        {
            "file": check.file,
            "load_seconds": check.load_seconds,
            "logit_difference": check.logit_difference,
            "probe_labels_changed": check.probe_labels,
            "view_difference": check.view_difference,
            "photos": check.photos,
            "differing": [list(row) for row in check.differing],
            "problems": list(check.problems),
            "remarks": list(check.remarks),
        }
        for check in delivery.checks
    ]
    return {
        "folder": str(delivery.folder),
        "files": dict(delivery.entries),
        "checks": checks,
        "formats": {
            name: [
                {"file": check.file, "format": check.format, "precision": check.precision, "bytes": check.bytes}
                | check.as_json()
                | {"problems": list(check.problems), "remarks": list(check.remarks)}
                for check in rows
            ]
            for name, rows in delivery.format_checks.items()
        },
        "archive": str(delivery.archive or "") or None,
    }
