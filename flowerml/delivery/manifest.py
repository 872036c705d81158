"""`MANIFEST.json`: what lies in a delivered folder, by name, with digests."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flowerml.files import file_digest, write_json
from flowerml.prediction.delivered import CLASSIFIER
from flowerml.training.checkpoints.checkpoint import Checkpoint

NAME = "MANIFEST.json"
FORMAT = "flowerml-delivery-1"


def entry(path: Path, digest: str, checkpoint: Checkpoint, origin: Mapping[str, Any], precision: str) -> dict[str, Any]:
    """A weights file's entry. `origin` says which run and registered version it comes from, `precision` how its weights
    are stored.
    """
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
        **origin,
    }


def standing_entries(folder: Path) -> dict[str, dict[str, Any]]:
    """The weights files that an earlier export left in `folder` and that are still what its manifest says."""
    try:
        content = json.loads((folder / NAME).read_text("utf-8"))
        files = dict(content["files"]) if content["format"] == FORMAT else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    same = {
        name: one
        for name, one in files.items()
        if Path(name).name == name and (folder / name).is_file() and name != CLASSIFIER
    }
    return {name: one for name, one in same.items() if file_digest(folder / name) == one.get("sha256")}


def write_manifest(folder: Path, weights: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write the manifest of `folder` with these weights files' entries and the single file's. Raises UserError."""
    single = folder / CLASSIFIER
    files = {**weights, CLASSIFIER: {"sha256": file_digest(single), "bytes": single.stat().st_size}}
    write_json(folder / NAME, {"format": FORMAT, "files": files})
    return folder / NAME
