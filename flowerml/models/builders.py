"""The one call that gives a classifier with everything training must know of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from flowerml.data.transforms import InputDescription
from flowerml.errors import UserError
from flowerml.files import file_digest
from flowerml.models.backbone import Backbone, UnknownModel
from flowerml.models.classifier import Classifier, Network
from flowerml.models.layer_groups import Stages
from flowerml.models.weights import load_backbone, read_state, require_file
from flowerml.settings import Family, Library, ModelSpec


@dataclass(frozen=True)
class Built:
    """A classifier, its input description, its backbone's parameter names from the input up, and what a weights file
    held besides.
    """

    model: Network
    description: InputDescription
    stages: Stages
    unused: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """How many numbers the model learns or has learned, head included."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def head_parameters(self) -> int:
        """Those of the head alone: all that is trained while the backbone is frozen."""
        return sum(parameter.numel() for parameter in self.model.head.parameters())


def weights_digest(weights: str, spec: ModelSpec) -> str:
    """What stands for `--weights` in a configuration's identity: the file's sha256, or the name of the published
    weights.
    """
    if weights == "none":
        return "none"
    if weights == "hub":
        return f"hub:{spec.architecture}.{spec.hub}"
    return file_digest(require_file(Path(weights)))


def build(
    spec: ModelSpec,
    classes: int,
    *,
    img_size: int,
    dropout: float = 0.0,
    drop_path: float = 0.0,
    weights: str = "none",
    overrides: Mapping[str, Any] | None = None,
) -> Built:
    """Build a classifier with `classes` outputs, its backbone from `weights` (hub, none or a path), its head fresh.

    `overrides` are parts of the input description the user has set (mean, std, interpolation, crop_pct); None leaves
    the model's own. Random starts draw from torch's global generator.

    Raises:
        UserError: the library does not know the name, can't take the image size, or the weights can't be had or do not
            fit.
    """
    backbone, unused = loaded_backbone(spec, img_size, drop_path, weights)
    model = Classifier(backbone.module, backbone.features, classes, dropout)
    try_out(model, spec, img_size)
    return Built(model, backbone.described(overrides), backbone.stages, unused)


def loaded_backbone(spec: ModelSpec, img_size: int, drop_path: float, weights: str) -> tuple[Backbone, tuple[str, ...]]:
    """The backbone with its weights (hub, none or a path), and the names of what a file held besides. Raises UserError
    as `build`.
    """
    try:
        backbone = bare_backbone(spec, img_size, drop_path, hub=weights == "hub")
    except UnknownModel as error:
        raise UserError(f"--model {error}") from error
    if weights in ("hub", "none"):
        return backbone, ()
    path = Path(weights)
    return backbone, tuple(load_backbone(backbone.module, backbone.resize(read_state(path)), path, backbone.head_keys))


def build_for_weights(spec: ModelSpec, classes: int, *, img_size: int) -> Classifier:
    """The classifier alone, for weights that are at hand: nothing is fetched or tried out. Under `torch.device("meta")`
    it costs no memory.

    Raises:
        UnknownModel: the library does not know the name.
    """
    backbone = bare_backbone(spec, img_size, 0.0, hub=False)
    return Classifier(backbone.module, backbone.features, classes, 0.0)


@torch.inference_mode()
def try_out(model: Network, spec: ModelSpec, img_size: int) -> None:
    """One forward pass: whether a library's model takes an image size shows only there. Raises UserError where it does
    not.
    """
    if ":" not in spec.name:  # of the catalogue's own models we know what they take
        return
    try:
        model.eval()(model.blank(img_size))
    except (AssertionError, RuntimeError, ValueError, TypeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:140]
        raise UserError(f"--img-size {img_size} does not fit {spec.name} ({reason})") from error
    finally:
        model.train()


def bare_backbone(spec: ModelSpec, img_size: int, drop_path: float, *, hub: bool) -> Backbone:
    """The backbone with published or random weights. Raises UserError."""
    # Each library is imported when it is needed: both together are seconds of start-up.
    if spec.library is Library.TIMM:
        from flowerml.models.timm_backbone import timm_backbone

        return timm_backbone(spec, img_size, drop_path, hub=hub)
    from flowerml.models.open_clip_backbone import open_clip_backbone

    return open_clip_backbone(spec, img_size, drop_path, hub=hub)


def set_channels_last(model: nn.Module, spec: ModelSpec) -> torch.memory_format:
    """Lay a CNN's weights out channels-last (1.3-2x faster on CPU, never slower on GPU). Returns the format its inputs
    should have.
    """
    if spec.family is Family.VIT:
        return torch.contiguous_format
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # documented, but missing in torch's own types
    return torch.channels_last
