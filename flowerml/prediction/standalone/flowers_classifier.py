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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from flowerml.data.decode import BadImage
from flowerml.errors import UserError
from flowerml.evaluation.calibration import Calibration, class_probabilities, energy_of, prediction_sets
from flowerml.evaluation.tta import FLIP_SCALES, NO_VIEWS, crop_shares
from flowerml.prediction.standalone.messages import single_line
from flowerml.prediction.standalone.network import make_backbone, with_weights
from flowerml.prediction.standalone.pictures import Input, Picture, Pictures, picture_name, read_picture, to_input
from flowerml.prediction.standalone.weights_file import BadWeights, read_weights

BATCH = 16  # pictures per forward pass: bounds the memory that a long list takes
UNKNOWN = "unknown"  # the answer for a picture that shows none of the classes, where that is asked for


class Classifier(Protocol):
    """What `predict` and its kin use: one model, or several as one (`load_ensemble`)."""

    classes: tuple[str, ...]
    labels_calibrated: bool  # whether labels are those of the calibrated probabilities

    def preprocess(self, picture: Picture, name: str = "") -> Any:  # noqa: ANN401 - what its `probabilities` take
        """What `probabilities` takes of a picture. Raises BadImage, with `name` before the reason."""

    def probabilities(self, inputs: Sequence[Any], *, calibrated: bool = True) -> np.ndarray:
        """Probabilities (N, C) float32, in one batch. Raises BadWeights where one is not finite."""

    def sets_calibration(self) -> Calibration:
        """The calibration of prediction sets. Raises UserError where there is none."""

    def known_energy(self) -> float:
        """The largest energy of a picture of one of the classes. Raises UserError where it is not known."""

    def probabilities_and_energies(
        self, inputs: Sequence[Any], *, calibrated: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """`probabilities`, and energies (N,) float32. Raises as `probabilities`."""


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
        try:
            image = read_picture(picture)
        except BadImage as error:
            raise BadImage(single_line(f"{name}: {error}" if name else str(error))) from error
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
        limit = None if self.calibration is None else self.calibration.known_energy
        if limit is None:
            raise UserError(
                "unknown pictures can't be told with these weights: they are of a run with fewer than 50 validation"
                " photos, or of an earlier version. Deliver those of another run"
            )
        if UNKNOWN in self.classes:
            raise UserError(f"unknown pictures can't be told from those of the class {UNKNOWN!r}: rename that class")
        return limit

    def sets_calibration(self) -> Calibration:
        """Its calibration. Raises UserError where it has none."""
        if self.calibration is None:
            raise UserError(
                "predict_set needs a calibration, and these weights have none: they are of a run with fewer than 50"
                " validation photos, or of an earlier version. Deliver those of another run"
            )
        return self.calibration


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


def predict(model: Classifier, image_path: Pictures, *, unknown: bool = False) -> str | list[str]:
    """The name of the flower in a picture; a list of pictures gives a list of names.

    With `unknown` the answer may be "unknown", for a picture that is less like the classes (by its energy, Liu et al.,
    NeurIPS 2020) than 95 % of the validation photos: so one in twenty photos of a flower is called unknown too.

    Raises:
        BadImage: one of them can't be used; says which and why.
        UserError: `unknown`, and the weights file has no energies, or the model is an ensemble.
    """
    if unknown:
        names = _names_or_unknown(model, image_path)
    else:
        shares = predict_proba(model, image_path, calibrated=model.labels_calibrated)
        names = [model.classes[index] for index in shares.argmax(axis=1)]
    return names if isinstance(image_path, (list, tuple)) else names[0]


def _names_or_unknown(model: Classifier, images: Pictures) -> list[str]:
    limit = model.known_energy()
    names = []
    for inputs in _batches(model, images):
        shares, energies = model.probabilities_and_energies(inputs, calibrated=model.labels_calibrated)
        best = shares.argmax(axis=1)
        names += [
            UNKNOWN if energy > limit else model.classes[index] for index, energy in zip(best, energies, strict=True)
        ]
    return names


def _batches(model: Classifier, images: Pictures) -> Iterator[list[Any]]:
    """What the model takes of the pictures, BATCH at a time. Raises BadImage."""
    pictures: list[Picture] = list(images) if isinstance(images, (list, tuple)) else [images]
    for start in range(0, len(pictures), BATCH):
        batch = pictures[start : start + BATCH]
        yield [model.preprocess(picture, picture_name(picture, start + index)) for index, picture in enumerate(batch)]


def predict_proba(model: Classifier, images: Pictures, *, calibrated: bool = True) -> np.ndarray:
    """Probabilities (N, C) float32 of pictures, columns in the order of `model.classes`; one picture gives one row.

    With `calibrated` they are scaled to agree with how often the model was right on its validation photos, where the
    weights file says so; the order of the classes is the same without.

    Raises:
        BadImage: one of them can't be used; says which and why.
    """
    empty = np.zeros((0, len(model.classes)), np.float32)
    return np.concatenate(
        [empty, *(model.probabilities(one, calibrated=calibrated) for one in _batches(model, images))]
    )


def predict_set(model: Classifier, images: Pictures, coverage: float = 0.95) -> list[str] | list[list[str]]:
    """The names that a picture may have, the likeliest first; a list of pictures gives a list of these lists.

    For pictures like the validation photos the true name is among them with at least the probability `coverage` (split
    conformal prediction). A model that is right more often than that gives one name for most.

    Raises:
        BadImage: one of them can't be used; says which and why.
        UserError: the weights file has no calibration, the model is an ensemble, or `coverage` is not between 0 and 1.
    """
    calibration = model.sets_calibration()
    try:
        calibration.threshold(coverage)  # before the work, not after it
    except ValueError as error:
        raise UserError(single_line(str(error))) from error
    sets = prediction_sets(predict_proba(model, images), calibration, coverage)
    names = [[model.classes[index] for index in members] for members in sets]
    return names if isinstance(images, (list, tuple)) else names[0]
