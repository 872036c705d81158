"""Write a delivery: weights, `flowers_classifier.py`, manifest; verify each weights file; write the model card."""

import logging
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from flowerml.delivery.formats.check import FormatCheck, check_formats
from flowerml.delivery.formats.convert import Converted, convert
from flowerml.delivery.formats.deliver import kept_formats, place_formats, with_checks, write_onnx_classifier
from flowerml.delivery.formats.request import FormatRequest, require_no_views
from flowerml.delivery.manifest import (
    NAME,
    check_own_manifest,
    code_files,
    manifest_entry,
    unchanged_entries,
    write_manifest,
)
from flowerml.delivery.model_card import NAME as CARD
from flowerml.delivery.model_card import model_card
from flowerml.delivery.robustness_result import RobustnessResult, find_robustness
from flowerml.delivery.verify import Check, Expected, verify
from flowerml.delivery.views import with_views
from flowerml.errors import UserError
from flowerml.evaluation.paired_gain import PairedGain
from flowerml.evaluation.prediction_table import read_predictions
from flowerml.files import check_writable, copy_file, file_digest, write_text, write_with
from flowerml.human_units import amount
from flowerml.prediction.delivered import (
    CLASSIFIER,
    WEIGHTS,
    for_delivery,
    infinite_weights,
    is_delivered,
    single_file,
    to_half,
)
from flowerml.training.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

logger = logging.getLogger(__name__)

_STORED = (".pth", ".onnx", ".bin", ".pt2")  # weights do not compress


class Precision(StrEnum):
    """How weights are stored."""

    FULL = "fp32"
    HALF = "fp16"


@dataclass(frozen=True)
class Source:
    """Weights to deliver (a `best.pth`, or a registered file in delivered form) and what their run recorded.

    `origin` goes into the manifest: run_id, registered_model, version. `robustness` is what was measured of its run's
    weights, if anything.
    """

    weights: Path
    expected: Expected
    origin: Mapping[str, Any]
    robustness: RobustnessResult | None = None


@dataclass(frozen=True)
class Delivery:
    """A written delivery: its folder, manifest entries by file name, and checks.

    `archive` is None where none was requested or a check failed. `formats` are the entries of files in other formats,
    and `format_checks` the checks of those that were written now, by the weights file that they were made from.
    """

    folder: Path
    entries: Mapping[str, Mapping[str, Any]]
    checks: tuple[Check, ...]
    archive: Path | None
    formats: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    format_checks: Mapping[str, Sequence[FormatCheck]] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        """The failed checks, a line each."""
        checks: list[Check | FormatCheck] = [*self.checks]
        checks += [check for rows in self.format_checks.values() for check in rows]
        return [f"{check.file}: {problem}" for check in checks for problem in check.problems]


def export(
    sources: Sequence[Source],
    folder: Path,
    *,
    precision: Precision = Precision.FULL,
    archive: Path | None = None,
    tta: str | None = None,
    formats: FormatRequest | None = None,
) -> Delivery:
    """Deliver into `folder`, then verify. The other family's file of an earlier export stays part of the delivery.

    `tta` names the test-time views that the files apply (None: those that they have), `formats` what else than the
    `.pth` is written.

    Raises:
        UserError: an unusable source, two of one family, views whose calibration can't be fitted, a model that can't
            be exported in a format (nothing is written then), or an unwritable folder; files are replaced one by one,
            each atomically.
    """
    check_own_manifest(folder)
    for path in (folder / NAME, *([archive] if archive else [])):
        check_writable(path)
    loaded = [(source, load_checkpoint(source.weights)) for source in sources]
    by_name = {_file_name(source, checkpoint): (source, checkpoint) for source, checkpoint in loaded}
    if len(by_name) < len(sources):
        raise UserError("two sources of one family: a delivery holds one CNN and one ViT")
    for wanted in formats.formats if formats is not None else ():
        for _, checkpoint in by_name.values():
            require_no_views(wanted, checkpoint.tta if tta is None else tta)  # before photos are looked at for minutes
    gains, changed = {}, set()
    for name, (source, checkpoint) in list(by_name.items()):
        viewed, gains[name] = with_views(checkpoint, source.expected, tta)
        if viewed is not checkpoint:
            changed.add(name)
            by_name[name] = source, viewed
    with tempfile.TemporaryDirectory(prefix="flowerml-export-") as scratch:
        converted = _convert_all(by_name, formats or FormatRequest(), Path(scratch))
        return _deliver(folder, by_name, changed, gains, converted, precision=precision, archive=archive)


def _convert_all(
    by_name: Mapping[str, tuple[Source, Checkpoint]], formats: FormatRequest, scratch: Path
) -> dict[str, list[Converted]]:
    """The files in other formats, by the weights file; before anything is written, as a model may have none of them."""
    if not formats.formats:
        return {}
    return {
        name: convert(checkpoint, name, formats, source.expected, scratch)
        for name, (source, checkpoint) in by_name.items()
    }


def _deliver(
    folder: Path,
    by_name: Mapping[str, tuple[Source, Checkpoint]],
    changed: set[str],
    gains: Mapping[str, PairedGain | None],
    converted: Mapping[str, list[Converted]],
    *,
    precision: Precision,
    archive: Path | None,
) -> Delivery:
    entries = {name: entry for name, entry in unchanged_entries(folder).items() if name not in by_name}
    kept = sorted(entries)
    written = {
        name: _write_weights(folder / name, source, checkpoint, precision, changed=name in changed)
        | ({} if (gain := gains[name]) is None else {"tta_gain": gain.as_json()})
        for name, (source, checkpoint) in by_name.items()
    }
    entries |= written
    replaced = {path.name for made in converted.values() for one in made for path in one.files}
    others = kept_formats(folder, entries, replaced) | place_formats(folder, converted, entries)
    write_text(folder / CLASSIFIER, single_file({name: entry["sha256"] for name, entry in entries.items()}))
    write_onnx_classifier(folder, others)
    write_manifest(folder, entries, others)
    for name, entry in written.items():
        logger.info(
            f"{folder / name}: {entry['model']}, {amount(entry['bytes'])}, {precision}, sha256 {entry['sha256'][:12]}…"
        )
    if kept:
        logger.info(f"kept from an earlier export: {', '.join(kept)}")
    checks = tuple(
        verify(folder, name, checkpoint, source.expected, exact=precision is Precision.FULL)
        for name, (source, checkpoint) in by_name.items()
    )
    format_checks = {
        name: check_formats(folder, name, made, by_name[name][1], by_name[name][0].expected)
        for name, made in converted.items()
    }
    others = with_checks(others, [check for rows in format_checks.values() for check in rows])
    if format_checks:
        write_manifest(folder, entries, others)
    delivery = Delivery(folder, entries, checks, None, others, format_checks)
    _write_card(folder, entries, by_name, others)
    if archive is None or delivery.problems:
        return delivery
    names = (*sorted(entries), *sorted(others), *code_files(others), NAME, CARD)
    _write_zip(archive, [folder / name for name in names])
    return replace(delivery, archive=archive)


def _write_card(
    folder: Path,
    entries: Mapping[str, Mapping[str, Any]],
    by_name: Mapping[str, tuple[Source, Checkpoint]],
    formats: Mapping[str, Mapping[str, Any]],
) -> None:
    settings = {name: for_delivery(checkpoint).settings for name, (_, checkpoint) in by_name.items()}
    tables = {
        name: table
        for name, (source, _) in by_name.items()
        if source.expected.predictions is not None and (table := read_predictions(source.expected.predictions))
    }
    # Beside the delivered files stand results for themselves, on a test folder; a run's are of its validation photos.
    robustness = {name: found for name in entries if (found := find_robustness(folder, folder / name))}
    robustness |= {name: source.robustness for name, (source, _) in by_name.items() if source.robustness is not None}
    write_text(folder / CARD, model_card(entries, settings, tables, robustness, formats))


def _file_name(source: Source, checkpoint: Checkpoint) -> str:
    family = str(checkpoint.spec.family)
    if family not in WEIGHTS:
        raise UserError(
            f"{source.weights}: a model of family {family} is no part of a delivery. Allowed: {', '.join(WEIGHTS)}"
        )
    return WEIGHTS[family]


def _write_weights(
    path: Path, source: Source, checkpoint: Checkpoint, precision: Precision, *, changed: bool
) -> dict[str, Any]:
    """Write a weights file; returns its manifest entry. A source in delivered form is copied byte for byte.

    Not so where its content has `changed`.
    """
    delivered = for_delivery(checkpoint)
    if precision is Precision.HALF:
        delivered = to_half(delivered)
        if lost := infinite_weights(delivered.state_dict):
            raise UserError(
                f"{source.weights}: {lost[0]} has values beyond fp16's range (65,504): export it without --half"
            )
        save_checkpoint(path, delivered)
    elif is_delivered(checkpoint) and not changed:
        copy_file(source.weights, path)
    else:
        save_checkpoint(path, delivered)
    return manifest_entry(path, file_digest(path), delivered, source.origin, str(precision))


def _write_zip(archive: Path, files: Sequence[Path]) -> None:
    def fill(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w") as packed:
            for file in files:
                packed.write(file, file.name, zipfile.ZIP_STORED if file.suffix in _STORED else zipfile.ZIP_DEFLATED)

    write_with(archive, fill)
    logger.info(f"{archive}: {amount(archive.stat().st_size)}, {', '.join(file.name for file in files)}")
