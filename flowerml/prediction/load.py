"""Load the weights of a run or a delivery into the package's own model and predict.

`load_cnn_model`, `load_vit_model`, `predict` and `predict_proba` are the functions that `flowers_classifier.py` is
generated from. `load_predictor` and `as_predictor`, by which a run evaluates its own weights, build the model as
training does: the logits that an export is checked against do not come from the file under check.
"""

from dataclasses import asdict
from pathlib import Path

from torch import nn

from flowerml.errors import UserError
from flowerml.models import UnknownModel, build_for_weights
from flowerml.prediction.relations import as_relation_predictor
from flowerml.prediction.standalone.delivered_file import BadWeights
from flowerml.prediction.standalone.flowers_classifier import FlowersClassifier
from flowerml.prediction.standalone.network import with_weights
from flowerml.prediction.standalone.pictures import Input
from flowerml.settings import Family
from flowerml.training.checkpoints.checkpoint import Checkpoint, load_checkpoint


def load_predictor(path: str | Path, device: str = "cpu") -> FlowersClassifier:
    """Load a `best.pth` or a delivered `.pth`: strict key match, nothing in the file is executed.

    Raises:
        UserError: a missing, damaged or foreign file, or weights that do not fit the architecture named in it.
    """
    return as_predictor(load_checkpoint(Path(path)), device, str(path))


def as_predictor(checkpoint: Checkpoint, device: str, origin: str) -> FlowersClassifier:
    """The model of a loaded checkpoint, in evaluation mode; `origin` names it in messages.

    On the CPU the model's weights are the checkpoint's own tensors, not copies of them.

    Raises:
        UserError: as `load_predictor`.
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
        return FlowersClassifier(
            built.backbone,
            built.head,
            checkpoint.classes,
            str(spec.family),
            description,
            checkpoint.calibration,
            checkpoint.tta,
        )

    try:
        return with_weights(make, checkpoint.state_dict, spec.name).to(device)
    except (BadWeights, UnknownModel) as error:
        raise UserError(f"checkpoint {origin}: {error}") from error


def load_network(path: str | Path, device: str = "cpu") -> nn.Module:
    """The network of any task's weights file: logits (N, C) of a batch. Raises UserError as `load_predictor`."""
    return as_network(load_checkpoint(Path(path)), device, str(path))


def as_network(checkpoint: Checkpoint, device: str, origin: str) -> nn.Module:
    """`load_network` of a loaded checkpoint; `origin` names it in messages. Raises UserError."""
    make = as_relation_predictor if checkpoint.spec.family is Family.RELATION else as_predictor
    return make(checkpoint, device, origin)
