"""Name the flower in a picture: one file, for the weights delivered beside it.

    from flowers_classifier import load_cnn_model, load_vit_model, predict

    model = load_cnn_model("cnn_flowers.pth")  # or load_vit_model("vit_flowers.pth")
    predict(model, "photo.jpg")                # 'tulip'

Needs torch, timm or open_clip, Pillow and numpy; no network. A picture is a path, a binary file object, the bytes of a
file, a Pillow image, or a list of these (which gives a list). `predict_proba` gives the probabilities, one column for
each of `model.classes`; `predict_set` the names that a picture may have, of which one is right in 95 % of the cases.
Views that a weights file asks for (a picture's mirror image, other sizes) are averaged over in all three, and
`load_ensemble` makes several files one model. A picture that can't be used raises `BadImage`, weights that can't be
trusted or do not fit `BadWeights`: both are `UserError`s with a message of one line. Nothing in a weights file is ever
executed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from flowerml.data.decode import BadImage
from flowerml.evaluation.calibration import Calibration, class_probabilities, energy_of
from flowerml.evaluation.calibration_values import CalibrationValues
from flowerml.evaluation.tta import FLIP_SCALES, NO_VIEWS, crop_shares
from flowerml.prediction.standalone.answers import (
    BATCH,
    UNKNOWN,
    Classifier,
    largest_known_energy,
    predict,
    predict_proba,
    predict_set,
    require_calibration,
)
from flowerml.prediction.standalone.delivered_file import BadWeights
from flowerml.prediction.standalone.inputs import to_input
from flowerml.prediction.standalone.messages import single_line
from flowerml.prediction.standalone.network import make_backbone, with_weights
from flowerml.prediction.standalone.pictures import Input, Picture, read_named_picture
from flowerml.prediction.standalone.weights_file import read_weights

__all__ = [
    "BATCH",
    "UNKNOWN",
    "BadImage",
    "BadWeights",
    "Classifier",
    "FlowersClassifier",
    "Input",
    "build_model",
    "load_cnn_model",
    "load_model",
    "load_vit_model",
    "predict",
    "predict_proba",
    "predict_set",
]


class FlowersClassifier(nn.Module):
    """Logits (N, C) from inputs (N, 3, S, S), with class names, family ("cnn", "vit") and input description.

    `calibration` is that of its probabilities; None where its weights file has none. `tta` names the views of a picture
    over which the logits of a prediction are averaged (none, flip, flip-scales); `forward` gives those of one view.
    """

    labels_calibrated = False  # its order of classes is the same without, and rounding may make close ones equal

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        classes: Sequence[str],
        family: str,
        description: Input,
        calibration: Calibration | None = None,
        tta: str = NO_VIEWS,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.classes = tuple(classes)
        self.family = family
        self.description = description
        self.calibration = calibration
        self.tta = tta
        self.eval()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits (N, C)."""
        logits: torch.Tensor = self.head(self.backbone(inputs))
        return logits

    def view_logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits (N, C), the mean over the views of `tta`, of inputs (N, 3, S, S), or (N, V, 3, S, S) of V sizes."""
        if self.tta == NO_VIEWS:
            logits: torch.Tensor = self(inputs)
            return logits
        sizes = inputs.unbind(1) if inputs.ndim == 5 else (inputs,)
        # A pass for each view: a batch of all of them would take as many times the memory.
        return torch.stack([self(view) for size in sizes for view in (size, size.flip(-1))]).mean(dim=0)

    def preprocess(self, picture: Picture, name: str = "") -> torch.Tensor:
        """The input (3, S, S) float32 of a picture; with the views flip-scales (V, 3, S, S), one for each size.

        Raises:
            BadImage: with `name` before the reason.
        """
        image = read_named_picture(picture, name)
        shares = crop_shares(self.tta, self.description.crop_pct)
        sizes = [to_input(image, replace(self.description, crop_pct=share)) for share in shares]
        return torch.stack(sizes) if self.tta == FLIP_SCALES else sizes[0]

    @torch.inference_mode()
    def probabilities(self, inputs: Sequence[torch.Tensor], *, calibrated: bool = True) -> np.ndarray:
        """Probabilities (N, C) float32 of results of `preprocess`, in one batch.

        Raises:
            BadWeights: where one is not finite.
        """
        return self._shares(self._logits(inputs), calibrated=calibrated)

    @torch.inference_mode()
    def probabilities_and_energies(
        self, inputs: Sequence[torch.Tensor], *, calibrated: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """`probabilities`, and energies (N,) float32. Raises as `probabilities`."""
        logits = self._logits(inputs)
        return self._shares(logits, calibrated=calibrated), energy_of(logits)

    def _logits(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        return self.view_logits(torch.stack(list(inputs)).to(next(self.parameters()).device))

    def _shares(self, logits: torch.Tensor, *, calibrated: bool) -> np.ndarray:
        shares = class_probabilities(logits, self.calibration if calibrated else None)
        if not np.isfinite(shares).all():
            raise BadWeights("the model answers with something that is no number: its weights are unusable")
        return shares

    def known_energy(self) -> float:
        """The largest energy of a picture of one of its classes. Raises UserError where it is not known."""
        return largest_known_energy(self.calibration, self.classes)

    def sets_calibration(self) -> CalibrationValues:
        """Its calibration. Raises UserError where it has none."""
        return require_calibration(self.calibration)


def load_cnn_model(weights_path: str | os.PathLike[str] = "cnn_flowers.pth") -> FlowersClassifier:
    """Load the CNN on the CPU, in fp32 and evaluation mode.

    A relative path is looked up in the working directory, then beside this file.

    Raises:
        BadWeights: see there; also for the file of a ViT.
    """
    return _load_family(weights_path, "cnn")


def load_vit_model(weights_path: str | os.PathLike[str] = "vit_flowers.pth") -> FlowersClassifier:
    """Load the ViT, as `load_cnn_model`."""
    return _load_family(weights_path, "vit")


def load_model(weights_path: str | os.PathLike[str]) -> FlowersClassifier:
    """Load a model of either family, as `load_cnn_model`."""
    return build_model(read_weights(weights_path), str(weights_path))


def _load_family(path: str | os.PathLike[str], family: str) -> FlowersClassifier:
    content = read_weights(path)
    if content["family"] != family:
        found = content["family"]
        raise BadWeights(
            single_line(f"{path} holds a model of family {found}, not {family}: load it with load_{found}_model")
        )
    return build_model(content, str(path))


def build_model(content: Mapping, origin: str) -> FlowersClassifier:
    """The model of a weights file's content (`read_weights`); `origin` names it in messages. Raises BadWeights."""
    model, described = content["model"], content["input"]
    mean, std = tuple(described["mean"]), tuple(described["std"])
    description = Input(described["size"], mean, std, described["interpolation"], described["crop_pct"])

    def make() -> FlowersClassifier:
        backbone, features = make_backbone(model, description.size)
        head = nn.Linear(features, len(content["classes"]))
        calibration = Calibration.from_plain(content.get("calibration"))
        classes, tta = content["classes"], content.get("tta", NO_VIEWS)
        return FlowersClassifier(backbone, head, classes, content["family"], description, calibration, tta)

    try:
        return with_weights(make, content["state_dict"], model["name"])
    except BadWeights as error:
        raise BadWeights(single_line(f"{origin}: {error}")) from error
