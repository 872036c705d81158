"""Put converted files into a delivery: their manifest entries, the Python file for ONNX, what is kept of others."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flowerml.delivery.formats.check import FormatCheck
from flowerml.delivery.formats.convert import Converted
from flowerml.delivery.formats.request import Format
from flowerml.delivery.manifest import MADE_FROM, PART_OF, manifest_files
from flowerml.files import copy_file, file_digest, write_text
from flowerml.human_units import amount
from flowerml.prediction.delivered import CLASSIFIER_ONNX, single_file_onnx

logger = logging.getLogger(__name__)

Entries = Mapping[str, Mapping[str, Any]]


def kept_formats(folder: Path, weights: Entries, replaced: set[str]) -> dict[str, dict[str, Any]]:
    """Entries of other formats of an earlier manifest that go on: unchanged, made from weights that are still there.

    A warning names the others, as their files stay in the folder. `replaced` are names that are written anew.
    """
    found = {name: entry for name, entry in manifest_files(folder).items() if MADE_FROM in entry}
    found = {name: entry for name, entry in found.items() if name not in replaced}
    # A file that another one needs goes and stays with it.
    lost = {entry.get(PART_OF, name) for name, entry in found.items() if not _is_current(folder, name, entry, weights)}
    kept = {name: entry for name, entry in found.items() if entry.get(PART_OF, name) not in lost}
    stale = sorted(name for name in found if name not in kept and (folder / name).exists())
    if stale:
        logger.warning(
            f"{folder}: {', '.join(stale)} of an earlier export is not of the weights that are there now, or changed:"
            " it is no part of the delivery any more; write it again with --format, or remove it"
        )
    return kept


def _is_current(folder: Path, name: str, entry: Mapping[str, Any], weights: Entries) -> bool:
    """Whether a file is the one of its entry, and made from weights that are in the delivery."""
    source, path = weights.get(entry[MADE_FROM]), folder / name
    return (
        source is not None
        and source["sha256"] == entry.get("made_from_sha256")
        and path.is_file()
        and file_digest(path) == entry.get("sha256")
    )


def place_formats(
    folder: Path, converted: Mapping[str, Sequence[Converted]], weights: Entries
) -> dict[str, dict[str, Any]]:
    """Copy converted files into `folder`; their manifest entries. `converted` is by the weights file they are of.

    Raises:
        UserError: the folder can't be written to.
    """
    entries: dict[str, dict[str, Any]] = {}
    for source, made in converted.items():
        for one in made:
            for path in one.files:
                target = folder / path.name
                copy_file(path, target)
                entries[path.name] = {
                    "sha256": file_digest(target),
                    "bytes": target.stat().st_size,
                    "format": str(one.format),
                    "precision": one.precision,
                    MADE_FROM: source,
                    "made_from_sha256": weights[source]["sha256"],
                    **({PART_OF: one.files[0].name} if path != one.files[0] else {}),
                }
                logger.info(f"{target}: {one.format}, {amount(entries[path.name]['bytes'])}, {one.precision}")
    return entries


def write_onnx_classifier(folder: Path, formats: Entries) -> None:
    """Write `flowers_classifier_onnx.py` for the ONNX files of `formats`, if there are any. Raises UserError."""
    digests = {name: str(entry["sha256"]) for name, entry in formats.items() if entry["format"] == Format.ONNX}
    if digests:
        write_text(folder / CLASSIFIER_ONNX, single_file_onnx(digests))


def with_checks(formats: Entries, checks: Sequence[FormatCheck]) -> dict[str, dict[str, Any]]:
    """The entries with what the checks found of their files."""
    found = {check.file: check.as_json() for check in checks}
    return {name: {**entry, **found.get(name, {})} for name, entry in formats.items()}
