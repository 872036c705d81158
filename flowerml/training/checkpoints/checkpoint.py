"""The format of `best.pth` and of delivered `.pth` files: readable with `torch.load(weights_only=True)`."""

import pickle
import zipfile
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
from flowerml.files import missing_reason, write_with
from flowerml.settings import Family, Library, ModelSpec, Settings, settings_from_json

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


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically. The `_orig_mod.` prefix of compiled models is removed.

    Raises:
        UserError: the folder can't be written to or the disk is full.
    """
    state = {
        name.removeprefix("_orig_mod."): tensor.detach().cpu().contiguous()
        for name, tensor in checkpoint.state_dict.items()
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
    save_plain(path, content)


def save_plain(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain tensors and values with torch.save, atomically.

    Raises:
        UserError: the folder can't be written to or the disk is full.
    """

    def fill(temporary: Path) -> None:
        # torch.save(path) leaks its open file after an error, which keeps a full disk full: so the handle is ours.
        with temporary.open("wb") as handle:
            try:
                torch.save(content, handle)
            except RuntimeError as error:  # raised when torch closes its archive; the OSError is its context
                cause = error.__context__
                raise (cause if isinstance(cause, OSError) else OSError(str(error).splitlines()[0])) from error

    write_with(path, fill, size_in_bytes(content))


def size_in_bytes(value: object) -> int:
    """Bytes of all tensors in nested plain values."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(map(size_in_bytes, value.values()))
    return sum(map(size_in_bytes, value)) if isinstance(value, list | tuple) else 0


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint without executing code in it. Tensors are memory-mapped: replace the file, never overwrite it.

    Raises:
        UserError: missing, damaged, not plain values, or another format.
    """
    if reason := missing_reason(path):
        raise UserError(f"checkpoint {path}: {reason}. Give a run's best.pth or a delivered .pth")
    try:
        with zipfile.ZipFile(path) as archive:
            # Compressed by another program: mapped, the compressed bytes would be taken for weights.
            compressed = [part.filename for part in archive.infolist() if part.compress_type != zipfile.ZIP_STORED]
            damaged = archive.testzip()  # torch does not verify the CRCs it writes: a flipped bit would change a weight
        if damaged is not None or compressed:
            raise zipfile.BadZipFile(f"the part {damaged or compressed[0]} is damaged")
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)  # on the disk until used
    except pickle.UnpicklingError as error:  # torch's message advises weights_only=False, which would run the code
        raise UserError(
            f"checkpoint {path}: holds more than plain weights and values: refused, as such a file can run code"
        ) from error
    except Exception as error:  # zip, pickle and torch each raise their own errors for a damaged file
        line = (str(error) or type(error).__name__).splitlines()[0][:140]
        raise UserError(f"checkpoint {path}: can't be read ({line})") from error
    missing = [key for key in _KEYS if key not in content] if isinstance(content, dict) else ["format"]
    if missing or content["format"] != FORMAT:
        raise UserError(
            f"checkpoint {path}: not written by flowerml ({FORMAT}); weights of other origin go into --weights"
        )
    try:
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
