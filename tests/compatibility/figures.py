"""What is compared of a training: its history and its weights."""

import csv
import hashlib
from pathlib import Path

import torch


def history(folder: Path) -> list[dict[str, str]]:
    """The rows of `history.csv`, but for the speed."""
    with (folder / "history.csv").open(newline="") as handle:
        return [
            {name: text for name, text in row.items() if name != "images_per_second"} for row in csv.DictReader(handle)
        ]


def weights_digest(path: Path) -> str:
    """A sha256 over names and values of the state dict in a `.pth`."""
    digest = hashlib.sha256()
    for name, tensor in torch.load(path, weights_only=True)["state_dict"].items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()
