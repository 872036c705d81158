"""`MANIFEST.json`: the files of a delivery, with their sha256."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flowerml.errors import UserError
from flowerml.files import file_digest, write_json
from flowerml.prediction.delivered import CLASSIFIER
from flowerml.training.checkpoints.checkpoint import Checkpoint

NAME = "MANIFEST.json"
FORMAT = "flowerml-delivery-1"


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


def unchanged_entries(folder: Path) -> dict[str, dict[str, Any]]:
    """The entries of an earlier manifest whose weights files still have the sha256 it says."""
    try:
        content = json.loads((folder / NAME).read_text("utf-8"))
        files = dict(content["files"]) if content["format"] == FORMAT else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    present = {
        name: entry
        for name, entry in files.items()
        if Path(name).name == name and (folder / name).is_file() and name != CLASSIFIER
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


def write_manifest(folder: Path, weights: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write the manifest of `folder`: these weights files and `flowers_classifier.py`. Raises UserError."""
    classifier = folder / CLASSIFIER
    files = {**weights, CLASSIFIER: {"sha256": file_digest(classifier), "bytes": classifier.stat().st_size}}
    write_json(folder / NAME, {"format": FORMAT, "files": files})
    return folder / NAME
