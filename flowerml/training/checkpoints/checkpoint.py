"""The format of `best.pth` and of delivered `.pth` files: readable with `torch.load(weights_only=True)`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from flowerml.data.splits.split import Split
from flowerml.data.transforms import InputDescription
from flowerml.errors import UserError
from flowerml.evaluation.calibration import Calibration
from flowerml.evaluation.tta import NO_VIEWS, TTA
from flowerml.settings import Family, Library, ModelSpec, Settings, settings_from_json
from flowerml.training.checkpoints.plain_file import load_plain, save_plain
from flowerml.training.checkpoints.shared_backbone import PREFIX, SharedBackbone

FORMAT = "flowerml-checkpoint-1"
_KEYS = ("format", "state_dict", "model", "family", "classes", "input", "epoch", "metrics", "settings")


@dataclass(frozen=True)
class Checkpoint:
    """Weights with everything needed to use them. `metrics` are those of `epoch` (1-based).

    `split` is None in a delivered file. `prior` (C,) is the class prior of the training, for logit adjustment after
    training; None in files that lack it. `tta` names the views that predictions are made with; those of the network
    itself have none. `origin` is the file's path, for messages. Prediction needs neither settings nor split, so these
    two are validated only when used, by the methods below.
    """

    state_dict: Mapping[str, torch.Tensor]
    spec: ModelSpec
    classes: tuple[str, ...]
    description: InputDescription
    epoch: int
    metrics: Mapping[str, Any]
    settings: Mapping[str, Any]
    split: Mapping[str, Any] | None
    prior: tuple[float, ...] | None = None
    calibration: Calibration | None = None
    tta: str = NO_VIEWS
    origin: str = ""

    def parse_settings(self) -> Settings:
        """The settings it was trained with. Raises UserError where this version does not accept them."""
        try:
            return settings_from_json(self.settings)
        except UserError as error:
            hint = "where another version of flowerml wrote it, use that one"
            raise UserError(f"checkpoint {self.origin}: its settings can't be used ({error}); {hint}") from error

    def parse_split(self) -> Split | None:
        """The split it was trained on, None in a delivered file. Raises UserError where it is not valid."""
        if self.split is None:
            return None
        try:
            return Split.from_json(self.split)
        except UserError as error:
            raise UserError(f"checkpoint {self.origin}: {error}") from error


def save_checkpoint(path: Path, checkpoint: Checkpoint, backbone: SharedBackbone | None = None) -> None:
    """Write a checkpoint atomically. The `_orig_mod.` prefix of compiled models is removed.

    With `backbone` the file refers to it, and holds the other tensors alone.

    Raises:
        UserError: the folder can't be written to or the disk is full.
    """
    state = {
        name.removeprefix("_orig_mod."): tensor.detach().cpu().contiguous()
        for name, tensor in checkpoint.state_dict.items()
        if backbone is None or not name.startswith(PREFIX)
    }
    content: dict[str, Any] = {
        "format": FORMAT,
        "state_dict": state,
        "model": {
            **asdict(checkpoint.spec),
            "family": str(checkpoint.spec.family),
            "library": str(checkpoint.spec.library),
        },
        "family": str(checkpoint.spec.family),
        "classes": list(checkpoint.classes),
        "input": {
            **asdict(checkpoint.description),
            "mean": list(checkpoint.description.mean),
            "std": list(checkpoint.description.std),
        },
        "epoch": checkpoint.epoch,
        "metrics": dict(checkpoint.metrics),
        "settings": dict(checkpoint.settings),
    }
    if checkpoint.prior is not None:
        content["prior"] = [float(share) for share in checkpoint.prior]  # a NumPy number would not be a plain value
    if checkpoint.calibration is not None:
        content["calibration"] = checkpoint.calibration.as_plain()
    if checkpoint.tta != NO_VIEWS:
        content["tta"] = checkpoint.tta
    if checkpoint.split is not None:
        content["split"] = dict(checkpoint.split)
    if backbone is not None:
        content["backbone"] = asdict(backbone)
    save_plain(path, content)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint without executing code in it. Tensors are memory-mapped: replace the file, never overwrite it.

    Raises:
        UserError: missing, damaged, not plain values, or another format; BackboneMissing where it refers to a backbone.
    """
    content = load_plain(path)
    missing = [key for key in _KEYS if key not in content] if isinstance(content, dict) else ["format"]
    if missing or content["format"] != FORMAT:
        raise UserError(
            f"checkpoint {path}: not written by flowerml ({FORMAT}); weights of other origin go into --weights"
        )
    try:
        if "backbone" in content:
            backbone = SharedBackbone(**content["backbone"]).load(path)
            content = {**content, "state_dict": {**backbone, **content["state_dict"]}}
        return _parse_checkpoint(content, str(path))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"checkpoint {path}: a part is not what {FORMAT} says ({type(error).__name__}: {error})"
        ) from error


def _parse_checkpoint(content: Mapping[str, Any], origin: str) -> Checkpoint:
    model, description, state = content["model"], content["input"], content["state_dict"]
    if not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise TypeError("state_dict holds something that is no tensor")
    prior = tuple(content["prior"]) if "prior" in content else None
    if prior is not None and len(prior) != len(content["classes"]):
        raise ValueError(f"prior has {len(prior)} shares for {len(content['classes'])} classes")
    if (tta := content.get("tta", NO_VIEWS)) not in TTA:
        raise ValueError(f"tta is {tta!r}, not {', '.join(TTA)}")
    return Checkpoint(
        state_dict=state,
        spec=ModelSpec(**{**model, "family": Family(model["family"]), "library": Library(model["library"])}),
        classes=tuple(content["classes"]),
        description=InputDescription(
            **{**description, "mean": tuple(description["mean"]), "std": tuple(description["std"])}
        ),
        epoch=content["epoch"],
        metrics=content["metrics"],
        settings=content["settings"],
        split=content.get("split"),
        prior=prior,
        calibration=Calibration.from_plain(content.get("calibration")),
        tta=tta,
        origin=origin,
    )
