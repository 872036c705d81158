"""`flowerml export`: the weights files, the one file that loads them, and a manifest; checked after writing."""

import argparse
import json
import logging
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flowerml.errors import RunFailed, UserError
from flowerml.settings.flags import Parser

if TYPE_CHECKING:
    from flowerml.delivery.export import Delivery, Source
    from flowerml.delivery.verify import Expected

logger = logging.getLogger(__name__)

FAMILIES = ("cnn", "vit")


def run(argv: Sequence[str] | None) -> int:
    """Parse, fetch, write, check. Raises UserError; RunFailed where the files are written and a check failed."""
    parser = Parser(
        prog="flowerml export",
        description=(
            "Write cnn_flowers.pth, vit_flowers.pth, flowers_classifier.py and MANIFEST.json, then check them in a"
            " fresh process."
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
    parser.add_argument("--json", action="store_true", help="print what was written and found as JSON on stdout")
    asked = parser.parse(argv)
    _check(asked)

    from flowerml.delivery.export import Precision, export

    folder = Path(asked.output_dir)
    with tempfile.TemporaryDirectory() as scratch:
        sources = _from_checkpoints(asked) if asked.checkpoint else _from_registry(asked, Path(scratch))
        precision = Precision.HALF if asked.half else Precision.FULL
        delivery = export(sources, folder, precision=precision, archive=Path(asked.zip) if asked.zip else None)
    if asked.json:
        print(json.dumps(_as_json(delivery)))
    else:
        print("\n".join(line for check in delivery.checks for line in check.lines))
    if delivery.problems:
        raise RunFailed(f"{folder} must not be handed on: {'; '.join(delivery.problems)}")
    logger.info(
        f"{folder.resolve()} holds the delivery: {', '.join(sorted(delivery.entries))}, flowers_classifier.py,"
        " MANIFEST.json"
    )
    return 0


def _check(asked: argparse.Namespace) -> None:
    if asked.checkpoint and (asked.alias or asked.version or asked.family):
        raise UserError(
            "--checkpoint names the weights: leave out --family, --alias and --version, which name a registered version"
        )
    if asked.alias and asked.version:
        raise UserError("--alias and --version each name a version: give one of them")
    if asked.version and not re.fullmatch(r"[1-9][0-9]{0,9}", asked.version):
        raise UserError(f"--version is {asked.version!r}. Allowed: whole number, >= 1")
    if asked.version and asked.family not in FAMILIES:
        raise UserError("--version is one model's: say whose with --family cnn or --family vit")
    if asked.train_dir and not Path(asked.train_dir).is_dir():
        raise UserError(
            f"--train-dir {asked.train_dir}: no such folder. Name the one the run was trained on, or leave it out"
        )
    if asked.zip and Path(asked.zip).suffix != ".zip":
        raise UserError(f"--zip is {asked.zip!r}. Allowed: a file name that ends in .zip")


def _from_checkpoints(asked: argparse.Namespace) -> "list[Source]":
    from flowerml.delivery.export import Source
    from flowerml.runs.lifecycle.run_file import read_run_file
    from flowerml.training.checkpoints.checkpoint import load_checkpoint

    sources = []
    for path in map(Path, asked.checkpoint):
        trained_on = load_checkpoint(path).settings.get("train_dir")
        standing = read_run_file(path.parent)
        expected = _expected(
            asked, _there(path.parent / "probe.npz"), _there(path.parent / "predictions.csv"), trained_on
        )
        sources.append(Source(path, expected, {"run_id": standing.run_id if standing else None}))
    return sources


def _from_registry(asked: argparse.Namespace, scratch: Path) -> "list[Source]":
    from flowerml.delivery.export import Source
    from flowerml.tracking import fetch_registered

    sources = []
    for family in FAMILIES if asked.family in (None, "both") else (asked.family,):
        found = fetch_registered(family, scratch / family, alias=asked.alias or "champion", version=asked.version)
        logger.info(f"{found.name}, version {found.version}, of run {found.run_id[:8]}")
        origin = {"run_id": found.run_id, "registered_model": found.name, "version": found.version}
        sources.append(Source(found.weights, _expected(asked, found.probe, found.predictions, found.train_dir), origin))
    return sources


def _expected(
    asked: argparse.Namespace, probe: Path | None, predictions: Path | None, trained_on: str | Path | None
) -> "Expected":
    """What the run recorded, and where its pictures lie: in the folder named, else where it was trained, if that is on
    this machine.
    """
    from flowerml.delivery.verify import Expected

    folder = asked.train_dir or trained_on
    return Expected(probe, predictions, Path(folder) if folder and Path(folder).is_dir() else None)


def _there(path: Path) -> Path | None:
    return path if path.is_file() else None


def _as_json(delivery: "Delivery") -> dict[str, object]:
    checks = [
        {
            "file": check.file,
            "load_seconds": check.load_seconds,
            "logit_difference": check.logit_difference,
            "probe_labels_changed": check.probe_labels,
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
        "archive": str(delivery.archive or "") or None,
    }
