"""`MANIFEST.json`: the files of a delivery, with their sha256."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flowerml.errors import UserError
from flowerml.files import file_digest, write_json
from flowerml.prediction.delivered import CLASSIFIER, CLASSIFIER_ONNX
from flowerml.training.checkpoints.checkpoint import Checkpoint

NAME = "MANIFEST.json"
FORMAT = "flowerml-delivery-1"
MADE_FROM = "made_from"  # in the entry of a file in another format: the weights file that it was made from
PART_OF = "part_of"  # in the entry of a file that another one needs: that one's name


def manifest_entry(
    path: Path, digest: str, checkpoint: Checkpoint, origin: Mapping[str, Any], precision: str
) -> dict[str, Any]:
    """A weights file's entry: `digest` is its sha256, `origin` its run and version, `precision` fp32 or fp16."""
    calibration = checkpoint.calibration
    return {
        "sha256": digest,
        "bytes": path.stat().st_size,
        "family": str(checkpoint.spec.family),
        "model": checkpoint.spec.name,
        "architecture": f"{checkpoint.spec.library}:{checkpoint.spec.architecture}",
        "parameters": sum(tensor.numel() for tensor in checkpoint.state_dict.values()),
        "precision": precision,
        "classes": list(checkpoint.classes),
        "input": asdict(checkpoint.description),
        "epoch": checkpoint.epoch,
        "metrics": dict(checkpoint.metrics),
        "calibration_temperature": None if calibration is None else calibration.temperature,
        "known_energy": None if calibration is None else calibration.known_energy,
        "tta": checkpoint.tta,
        **origin,
    }


def manifest_files(folder: Path) -> dict[str, dict[str, Any]]:
    """The entries of an earlier manifest by name; none where there is no manifest that can be used."""
    try:
        content = json.loads((folder / NAME).read_text("utf-8"))
        files = dict(content["files"]) if content["format"] == FORMAT else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return {name: entry for name, entry in files.items() if Path(name).name == name}


def unchanged_entries(folder: Path) -> dict[str, dict[str, Any]]:
    """The entries of an earlier manifest whose weights files still have the sha256 it says."""
    present = {
        name: entry
        for name, entry in manifest_files(folder).items()
        if (folder / name).is_file() and name not in (CLASSIFIER, CLASSIFIER_ONNX) and MADE_FROM not in entry
    }
    return {name: entry for name, entry in present.items() if file_digest(folder / name) == entry.get("sha256")}


def check_own_manifest(folder: Path) -> None:
    """Check that a `MANIFEST.json` in `folder` is a delivery's. Raises UserError: another program's is not replaced."""
    try:
        found = (folder / NAME).read_text("utf-8", "replace")
    except OSError:
        return
    if found.strip() and FORMAT not in found:
        raise UserError(f"{folder / NAME} is no delivery's manifest: choose another folder, or move it away")


def write_manifest(
    folder: Path, weights: Mapping[str, Mapping[str, Any]], formats: Mapping[str, Mapping[str, Any]] | None = None
) -> Path:
    """Write the manifest of `folder`: these weights files, those in other formats, and the Python files for them.

    Raises:
        UserError: it can't be written.
    """
    code = code_files(formats or {})
    own = {name: {"sha256": file_digest(folder / name), "bytes": (folder / name).stat().st_size} for name in code}
    files = {**weights, **(formats or {}), **own}
    write_json(folder / NAME, {"format": FORMAT, "files": files})
    return folder / NAME


def code_files(formats: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """The Python files of a delivery with these entries of other formats."""
    return (CLASSIFIER, *([CLASSIFIER_ONNX] if any(entry["format"] == "onnx" for entry in formats.values()) else []))
