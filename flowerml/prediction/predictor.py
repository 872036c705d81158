"""The delivery contract's names for users of the package: the single delivered file itself, its errors as ours.

`load_cnn_model`, `load_vit_model`, `predict` and `predict_proba` are those of `flowers_classifier.py`, which knows
nothing of flowerml. `load_model` and `as_predictor`, by which a run evaluates its own weights, build the model as
training does, so that the logits which the export is checked against do not come from the file under check.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
from torch import nn

from flowerml.errors import UserError
from flowerml.models import UnknownModel, build_for_weights
from flowerml.prediction import flowers_classifier as delivered
from flowerml.prediction.flowers_classifier import FlowersClassifier, Input, Pictures
from flowerml.prediction.relations import as_relation_predictor
from flowerml.settings import Family
from flowerml.training.checkpoints.checkpoint import Checkpoint, load_checkpoint


def load_model(path: str | Path, device: str = "cpu") -> FlowersClassifier:
    """Load a `best.pth` or a delivered `.pth`: strict key match, nothing in the file is executed.

    Raises:
        UserError: missing, damaged or foreign file, or weights that do not fit the architecture named in it.
    """
    return as_predictor(load_checkpoint(Path(path)), device, str(path))


def as_predictor(checkpoint: Checkpoint, device: str, origin: str) -> FlowersClassifier:
    """A checkpoint that has been read already, ready to predict; `origin` names it in messages. Raises UserError as
    `load_model`.

    On the CPU the model's weights are the checkpoint's own tensors, not copies of them.
    """
    spec = checkpoint.spec
    if spec.family is Family.RELATION:
        raise UserError(
            f"checkpoint {origin}: holds {spec.name}, which names the relation of two boxes in a picture, not the"
            " picture"
        )

    def make() -> FlowersClassifier:
        built = build_for_weights(spec, len(checkpoint.classes), img_size=checkpoint.description.size)
        description = Input(**asdict(checkpoint.description))
        return FlowersClassifier(built.backbone, built.head, checkpoint.classes, str(spec.family), description)

    with _errors_of_ours(f"checkpoint {origin}: "):
        return delivered.with_weights(make, checkpoint.state_dict, spec.name).to(device)


def load_network(path: str | Path, device: str = "cpu") -> nn.Module:
    """The network of any task's weights file: logits (N, C) from a batch's inputs. Raises UserError as `load_model`."""
    return as_network(load_checkpoint(Path(path)), device, str(path))


def as_network(checkpoint: Checkpoint, device: str, origin: str) -> nn.Module:
    """`load_network` of a checkpoint that has been read already; `origin` names it in messages. Raises UserError."""
    make = as_relation_predictor if checkpoint.spec.family is Family.RELATION else as_predictor
    return make(checkpoint, device, origin)


def load_cnn_model(weights_path: str | Path = "cnn_flowers.pth") -> FlowersClassifier:
    """Load the CNN champion, or any CNN's `best.pth`. Raises UserError as `load_model`, and for a ViT's file."""
    with _errors_of_ours():
        return delivered.load_cnn_model(weights_path)


def load_vit_model(weights_path: str | Path = "vit_flowers.pth") -> FlowersClassifier:
    """Load the ViT champion, or any ViT's `best.pth`. Raises UserError as `load_model`, and for a CNN's file."""
    with _errors_of_ours():
        return delivered.load_vit_model(weights_path)


def predict(model: FlowersClassifier, image_path: Pictures) -> str | list[str]:
    """The name of the class the model sees in a picture (path, file object, bytes, Pillow image); of a list, a list of
    names.

    Raises:
        UserError: something that is no picture that can be used; says which and why.
    """
    with _errors_of_ours():
        return delivered.predict(model, image_path)


def predict_proba(model: FlowersClassifier, images: Pictures) -> np.ndarray:
    """Probabilities (N, C) float32 of the pictures, columns in the order of `model.classes`. Raises UserError as
    `predict`.
    """
    with _errors_of_ours():
        return delivered.predict_proba(model, images)


@contextmanager
def _errors_of_ours(before: str = "") -> Iterator[None]:
    try:
        yield
    except (delivered.BadWeights, delivered.BadPicture, UnknownModel) as error:
        raise UserError(f"{before}{error}") from error
