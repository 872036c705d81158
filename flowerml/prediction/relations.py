"""Predict the relation of two boxed objects: `predict_relation(model, image, subject_box, object_box)`."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from flowerml.data.decode import BadImage, decode, read_image
from flowerml.data.pair_views import ImagePairSource, PairView
from flowerml.data.relations.geometry import BoxFeatures, feature_names
from flowerml.data.relations.records import Box, Pair
from flowerml.data.transforms import InputDescription
from flowerml.errors import UserError
from flowerml.evaluation.calibration import Calibration, class_probabilities
from flowerml.models import UnknownModel
from flowerml.models.pairs.classifier import PairClassifier, build_pair_classifier_for_weights
from flowerml.prediction.standalone.delivered_file import BadWeights
from flowerml.prediction.standalone.network import with_weights
from flowerml.settings import Family
from flowerml.settings.declaration import Settings
from flowerml.training.checkpoints.checkpoint import Checkpoint, load_checkpoint

Edges = Sequence[float]  # left, top, right, bottom in pixels of the picture as its file stores it
Picture = str | os.PathLike[str] | bytes | Image.Image


class RelationPredictor(PairClassifier):
    """A pair classifier with the names of its relations, its input description and its kind of box features."""

    def __init__(
        self,
        network: PairClassifier,
        classes: Sequence[str],
        description: InputDescription,
        kind: BoxFeatures,
        calibration: Calibration | None = None,
    ) -> None:
        super().__init__(network.backbone, network.head, network.box_dim)
        self.classes = tuple(classes)
        self.family = str(Family.RELATION)
        self.description = description
        self.kind = kind
        self.calibration = calibration
        self.eval()


def load_relation_model(weights_path: str | Path, device: str = "cpu") -> RelationPredictor:
    """Load the `best.pth` of a run of a relation model. Nothing in the file is executed, every key must fit.

    Raises:
        UserError: missing, damaged or foreign file, or a model of another family.
    """
    return as_relation_predictor(load_checkpoint(Path(weights_path)), device, str(weights_path))


def as_relation_predictor(checkpoint: Checkpoint, device: str, origin: str) -> RelationPredictor:
    """The model of a loaded checkpoint, in evaluation mode; `origin` names it in messages. Raises UserError."""
    spec = checkpoint.spec
    if spec.family is not Family.RELATION:
        raise UserError(
            f"checkpoint {origin}: holds {spec.name}, which names pictures, not the relation of two boxes in one"
        )
    kind = BoxFeatures(_setting(checkpoint.settings, "box_features"))

    def make() -> RelationPredictor:
        network = build_pair_classifier_for_weights(
            spec,
            len(checkpoint.classes),
            len(feature_names(kind)),
            img_size=checkpoint.description.size,
            embedding=int(_setting(checkpoint.settings, "embedding")),
            temperature=float(_setting(checkpoint.settings, "temperature")),
        )
        return RelationPredictor(network, checkpoint.classes, checkpoint.description, kind, checkpoint.calibration)

    try:
        return with_weights(make, checkpoint.state_dict, spec.name).to(device)
    except (BadWeights, UnknownModel) as error:
        raise UserError(f"checkpoint {origin}: {error}") from error


def predict_relation(model: RelationPredictor, image: Picture, subject_box: Edges, object_box: Edges) -> str:
    """The relation of the subject to the object ("cup on table": the cup is the subject).

    `image` is a path, a file's bytes or a Pillow image; boxes are (left, top, right, bottom) in pixels of the picture
    as it is stored (EXIF orientation is not applied: boxes are drawn on stored pixels).

    Raises:
        UserError: an unusable picture, or a box that is empty or outside it.
    """
    return model.classes[int(predict_relation_proba(model, image, subject_box, object_box).argmax())]


@torch.inference_mode()
def predict_relation_proba(
    model: RelationPredictor, image: Picture, subject_box: Edges, object_box: Edges
) -> np.ndarray:
    """Probabilities (C,) float32 in the order of `model.classes`. Raises UserError as `predict_relation`."""
    picture = _read_rgb(image)
    subject, object_ = (
        _box_from_edges(edges, name, picture.size)
        for edges, name in ((subject_box, "subject_box"), (object_box, "object_box"))
    )
    pair = Pair("", picture.width, picture.height, subject, object_, model.classes[0])
    view = PairView(model.description, model.kind)(ImagePairSource(pair, 0, None, picture))
    device = next(model.parameters()).device
    logits = model(tuple(part[None].to(device) for part in view.inputs))
    shares = class_probabilities(logits, model.calibration)[0]
    if not np.isfinite(shares).all():
        raise UserError("the model answers with something that is no number: its weights are unusable")
    return shares


def _setting(settings: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401 - a setting's value
    return settings.get(name, Settings.model_fields[name].default)


def _read_rgb(image: Picture) -> Image.Image:
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    try:
        return decode(image, upright=False) if isinstance(image, bytes) else read_image(Path(image), upright=False)
    except BadImage as error:
        raise UserError(f"{'the picture' if isinstance(image, bytes) else image}: {error}") from error


def _box_from_edges(edges: Edges, name: str, size: tuple[int, int]) -> Box:
    width, height = size
    allowed = (
        f"left, top, right, bottom in pixels, within the picture of {width}x{height}, right of left and bottom"
        " below top"
    )
    try:
        x0, y0, x1, y1 = map(float, edges)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name} is {edges!r}. Allowed: four numbers: {allowed}") from error
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):  # also where one is NaN
        raise UserError(f"{name} is {edges!r}. Allowed: {allowed}")
    return Box(x0, y0, x1, y1)
