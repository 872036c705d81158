"""One file for the frozen backbone of many linear probes, whose `best.pth` then hold the head alone.

A search over the head of a CLIP ViT-B/16 would otherwise write its 350 MB once a trial, and upload them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from flowerml.errors import UserError
from flowerml.training.checkpoints.plain_file import load_plain, save_plain

FORMAT = "flowerml-backbone-1"
BACKBONES = "backbone-*.pth"
PREFIX = "backbone."  # of its tensors in a whole model


class BackboneMissing(UserError):
    """A checkpoint holds the head alone, and the file with its backbone, `file_name`, is not where it is looked for."""

    def __init__(self, checkpoint: Path, file_name: str, folder: str) -> None:
        self.file_name = file_name
        super().__init__(
            f"checkpoint {checkpoint}: holds the head of a linear probe alone, and its backbone is not there: put"
            f" {file_name} beside it, from the folder {folder} of its sweep or from the artifacts of the sweep's run"
        )


@dataclass(frozen=True)
class SharedBackbone:
    """A reference from a checkpoint: the tensors' digest (hex), and the name of a folder beside the checkpoint's."""

    folder: str
    digest: str

    def __post_init__(self) -> None:
        """Raises ValueError: a reference of another origin could name any file."""
        is_name = self.folder not in ("", "..") and Path(self.folder).name == self.folder
        if not is_name or not re.fullmatch(r"[0-9a-f]{64}", self.digest):
            raise ValueError("its reference to a backbone is not one of flowerml")

    @property
    def file_name(self) -> str:
        """The name of the file."""
        return f"backbone-{self.digest[:16]}.pth"

    def load(self, checkpoint: Path) -> Mapping[str, torch.Tensor]:
        """The tensors, named as in a whole model, for a `checkpoint`: from its own folder, else from the sweep's.

        Raises:
            BackboneMissing: the file is in neither.
            UserError: it is damaged, or another backbone.
        """
        own = checkpoint.parent.absolute()
        for path in (own / self.file_name, own.parent / self.folder / self.file_name):
            if path.is_file():
                return _load_file(path, self.digest)
        raise BackboneMissing(checkpoint, self.file_name, self.folder)


def share_backbone(folder: Path, state_dict: Mapping[str, torch.Tensor], digest: str) -> SharedBackbone:
    """Write a backbone into a folder, unless it is there, and return the reference to it.

    `state_dict` has the backbone's own names; `digest` is that of `weights_digest`.

    Raises:
        UserError: the folder can't be written to or the disk is full.
    """
    shared = SharedBackbone(folder.absolute().name, digest)
    path = folder / shared.file_name
    if not path.is_file():  # written by rename: a file that is there is whole, and two writers write the same
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}
        save_plain(path, {"format": FORMAT, "digest": digest, "state_dict": state})
    return shared


def _load_file(path: Path, digest: str) -> Mapping[str, torch.Tensor]:
    content = load_plain(path)
    if not isinstance(content, dict) or (content.get("format"), content.get("digest")) != (FORMAT, digest):
        raise UserError(f"checkpoint {path}: not the backbone that is asked for")
    return {f"{PREFIX}{name}": tensor for name, tensor in content["state_dict"].items()}
