"""The three names of the delivery contract: `load_cnn_model`, `load_vit_model`, `predict`."""

from pathlib import Path

import torch
from PIL import Image
from torch import nn

from flowerml.data.decode import BadImage, read_image
from flowerml.data.transforms import EvaluationTransform
from flowerml.errors import UserError
from flowerml.models import build
from flowerml.training.checkpoint import Checkpoint, load_checkpoint


class Predictor:
    """A classifier with its class names and its way of looking at pictures."""

    def __init__(self, model: nn.Module, checkpoint: Checkpoint) -> None:
        self.model = model.eval()
        self.classes = checkpoint.classes
        self.description = checkpoint.description
        self.family = checkpoint.spec.family
        self._transform = EvaluationTransform(checkpoint.description)

    @torch.inference_mode()
    def probabilities(self, image: Image.Image) -> dict[str, float]:
        """Probability of each class for an RGB picture, in label order."""
        device = next(self.model.parameters()).device
        logits = self.model(self._transform(image).unsqueeze(0).to(device))
        shares = logits.float().softmax(dim=1)[0].tolist()
        return dict(zip(self.classes, shares, strict=True))


def load_model(path: str | Path, device: str = "cpu") -> Predictor:
    """Load a `best.pth` or a delivered `.pth`: strict key match, nothing in the file is executed.

    Raises:
        UserError: missing, damaged or foreign file, or weights that do not fit the architecture named in it.
    """
    return as_predictor(load_checkpoint(Path(path)), device, str(path))


def as_predictor(checkpoint: Checkpoint, device: str, origin: str) -> Predictor:
    """A checkpoint that has been read already, ready to predict; `origin` names it in messages. Raises UserError as `load_model`."""
    built = build(checkpoint.spec, len(checkpoint.classes), img_size=checkpoint.description.size)
    try:
        built.model.load_state_dict(dict(checkpoint.state_dict), strict=True)
    except RuntimeError as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[1:2])[:200]  # the first line only names the class
        raise UserError(f"checkpoint {origin}: its weights do not fit {checkpoint.spec.name} ({reason})") from error
    return Predictor(built.model.to(device), checkpoint)


def load_cnn_model(weights_path: str | Path = "cnn_flowers.pth") -> Predictor:
    """Load the CNN champion, or any CNN's `best.pth`. Raises UserError as `load_model`, and for a ViT's file."""
    return _of_family(weights_path, "cnn")


def load_vit_model(weights_path: str | Path = "vit_flowers.pth") -> Predictor:
    """Load the ViT champion, or any ViT's `best.pth`. Raises UserError as `load_model`, and for a CNN's file."""
    return _of_family(weights_path, "vit")


def predict(model: Predictor, image_path: str | Path) -> str:
    """The name of the class the model sees in the picture.

    Raises:
        UserError: the file is no picture that can be used; says why.
    """
    try:
        shares = model.probabilities(read_image(Path(image_path)))
    except BadImage as error:
        raise UserError(f"{image_path}: {error}") from error
    return max(shares, key=lambda name: shares[name])


def _of_family(path: str | Path, family: str) -> Predictor:
    model = load_model(path)
    if model.family.value != family:
        raise UserError(f"{path} holds a model of family {model.family.value}, not {family}: load it with load_{model.family.value}_model")
    return model
