"""Name the relation of two boxed objects in a picture, with the weights of a served model.

    from relations_classifier import load_relation_model, predict_relation

    model = load_relation_model("relations.pth")
    predict_relation(model, "photo.jpg", (12, 40, 90, 120), (0, 100, 200, 220))  # 'on'

Needs torch, timm, Pillow, numpy and `flowers_classifier.py` beside it. Boxes are (left, top, right, bottom) in pixels
of the picture as its file stores it. What can't be used raises `BadImage` or `BadBox`, weights that can't be trusted or
do not fit `BadWeights`: all are `UserError`s with a message of one line.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image
from torch import nn

from flowerml.data.decode import BadImage
from flowerml.data.relations.geometry import BoxFeatures, box_features, feature_names
from flowerml.data.relations.records import Box, Pair
from flowerml.errors import UserError
from flowerml.evaluation.calibration import Calibration, class_probabilities
from flowerml.models.pairs.head import PairHead
from flowerml.prediction.standalone.delivered_file import BadWeights
from flowerml.prediction.standalone.network import make_backbone, with_weights
from flowerml.prediction.standalone.pictures import Input, Picture, read_picture
from flowerml.prediction.standalone.pyfunc import columns_of, decode_base64, pyfunc_error
from flowerml.prediction.standalone.weights_file import read_weights

FAMILY = "relation"
SIDES = ("subject", "object")
COLUMNS = tuple(f"{side}_{edge}" for side in SIDES for edge in ("x0", "y0", "x1", "y1"))
"""A request's columns besides `image`: left, top, right and bottom edge of both boxes, in pixels."""


class BadBox(UserError):
    """A box that is empty or outside its picture. One line."""


class RelationsClassifier(nn.Module):
    """Logits (N, C) from crops of subject and object (N, 3, S, S) each and the numbers of their boxes (N, B)."""

    def __init__(
        self,
        backbone: nn.Module,
        head: PairHead,
        classes: Sequence[str],
        kind: BoxFeatures,
        description: Input,
        calibration: Calibration | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.classes = tuple(classes)
        self.kind = kind
        self.description = description
        self.calibration = calibration
        self.eval()

    def forward(self, inputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Logits (N, C)."""
        subject, object_, numbers = inputs
        first, second = self.backbone(torch.cat([subject, object_])).chunk(2)
        logits: torch.Tensor = self.head(torch.cat([first, second], dim=1), numbers)
        return logits

    @torch.inference_mode()
    def probabilities(self, picture: Image.Image, subject: Box, object_: Box) -> np.ndarray:
        """Probabilities (C,) float32 for two boxes in an RGB picture. Raises BadWeights where one is not finite."""
        pair = Pair("", picture.width, picture.height, subject, object_, self.classes[0])
        crops = [_crop(picture, box, self.description)[None] for box in (subject, object_)]
        device = next(self.parameters()).device
        inputs = (*crops, torch.from_numpy(box_features([pair], self.kind)))
        logits = self(tuple(part.to(device) for part in inputs))
        shares = class_probabilities(logits, self.calibration)[0]
        if not np.isfinite(shares).all():
            raise BadWeights("the model answers with something that is no number: its weights are unusable")
        return shares


def load_relation_model(weights_path: str | os.PathLike[str]) -> RelationsClassifier:
    """Load the model, on the CPU, in fp32 and evaluation mode. Raises BadWeights."""
    content = read_weights(weights_path, (FAMILY,))
    described, settings, model = content["input"], content["settings"], content["model"]
    kind = BoxFeatures(settings["box_features"])
    description = Input(**{**described, "mean": tuple(described["mean"]), "std": tuple(described["std"])})

    def make() -> RelationsClassifier:
        backbone, features = make_backbone(model, description.size)
        options = {
            "embedding": settings["embedding"],
            "temperature": settings["temperature"],
            "dropout": 0.0,
            "spatial_dropout": 0.0,
        }
        head = PairHead(features, len(feature_names(kind)), len(content["classes"]), **options)
        calibration = Calibration.from_plain(content.get("calibration"))
        return RelationsClassifier(backbone, head, content["classes"], kind, description, calibration)

    return with_weights(make, content["state_dict"], model["name"])


def predict_relation(
    model: RelationsClassifier, image: Picture, subject_box: Sequence[float], object_box: Sequence[float]
) -> str:
    """The relation of the subject to the object ("cup on table": the cup is the subject). Raises BadImage, BadBox."""
    return model.classes[int(predict_relation_proba(model, image, subject_box, object_box).argmax())]


def predict_relation_proba(
    model: RelationsClassifier, image: Picture, subject_box: Sequence[float], object_box: Sequence[float]
) -> np.ndarray:
    """Probabilities (C,) float32 in the order of `model.classes`. Raises BadImage, BadBox."""
    picture = read_picture(image, upright=False)
    boxes = [
        parse_box(edges, f"{side}_box", picture.size)
        for side, edges in zip(SIDES, (subject_box, object_box), strict=True)
    ]
    return model.probabilities(picture, boxes[0], boxes[1])


def parse_box(edges: Sequence[float], name: str, size: tuple[int, int]) -> Box:
    """The box with these edges in a picture of `size` (width, height) pixels. Raises BadBox, with its `name`."""
    width, height = size
    allowed = (
        f"left, top, right, bottom in pixels, within the picture of {width}x{height}, right of left and bottom"
        " below top"
    )
    try:
        x0, y0, x1, y1 = map(float, edges)
    except (TypeError, ValueError):
        raise BadBox(f"{name} is {edges!r:.80}. Allowed: four numbers: {allowed}") from None
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):  # also where one is NaN
        raise BadBox(f"{name} is {edges!r:.80}. Allowed: {allowed}")
    return Box(x0, y0, x1, y1)


def _crop(picture: Image.Image, box: Box, description: Input) -> torch.Tensor:
    inside = picture.crop((math.floor(box.x0), math.floor(box.y0), math.ceil(box.x1), math.ceil(box.y1)))
    cut = inside.resize((description.size, description.size), Image.Resampling[description.interpolation.upper()])
    pixels = torch.from_numpy(np.array(cut)).permute(2, 0, 1)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (description.mean, description.std))
    return pixels.to(torch.float32).mul_(1 / 255).sub_(mean).div_(std)


class Served:
    """A picture file in base64 and the edges of two boxes in, relation and probabilities out."""

    def __init__(self, model: RelationsClassifier) -> None:
        self.model = model

    def predict(self, rows: Mapping) -> list[dict]:
        """Per row, `{"label": name, "probabilities": {class: share}}`, from the columns `image` and COLUMNS.

        Raises:
            BadImage, BadBox: no such column, or a row that can't be used, by its number (counted from 1); under MLflow
                as its own error.
        """
        answers = []
        for number, (text, *edges) in enumerate(zip(*columns_of(rows, ("image", *COLUMNS)), strict=True), start=1):
            try:
                shares = predict_relation_proba(self.model, decode_base64(text, number), edges[:4], edges[4:])
            except (BadImage, BadBox) as error:
                raise pyfunc_error(f"row {number}: {error}") from error
            names = self.model.classes
            probabilities = {name: float(share) for name, share in zip(names, shares, strict=True)}
            answers.append({"label": names[shares.argmax()], "probabilities": probabilities})
        return answers


def _load_pyfunc(path: str) -> Served:
    """MLflow's entry point of a loader module; `path` is the weights file. Raises BadWeights."""
    return Served(load_relation_model(path))
