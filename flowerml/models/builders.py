"""One builder per library, and the one call that gives a classifier with everything training must know of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import open_clip
import timm
import torch
from open_clip.model import resize_pos_embed
from timm.data import resolve_model_data_config
from timm.layers import resample_abs_pos_embed
from torch import nn

from flowerml.data.transforms import InputDescription
from flowerml.errors import UserError
from flowerml.files import file_digest
from flowerml.models.classifier import Classifier
from flowerml.models.stages import Stages, convnext_stages, timm_stages, vit_stages
from flowerml.models.weights import State, load_backbone, read_state, require_file
from flowerml.settings import Library, ModelSpec

_REMEDIES = "give the weights as a file (--weights PATH), fill this machine's cache on one with a network, or start from scratch (--weights none)"
# A text tower as small as open_clip allows: only the image tower is wanted, and the real one costs seconds and 500 MB.
_NO_TEXT = {"context_length": 8, "vocab_size": 8, "width": 64, "heads": 1, "layers": 1}
# What a file may hold besides the image tower: CLIP's text tower and scales, or a classifier's head.
_BESIDE_THE_TOWER = (
    *("transformer.", "token_embedding", "positional_embedding", "ln_final", "text_projection", "text."),
    *("logit_scale", "logit_bias", "attn_mask", "input_resolution", "context_length", "vocab_size", "head"),
)


@dataclass(frozen=True)
class Backbone:
    """A backbone giving pooled features (N, `features`), what it wants to see, and its parameter names from the input up."""

    module: nn.Module
    features: int
    description: InputDescription
    stages: Stages
    head_keys: tuple[str, ...]
    resize: Callable[[State], State] = field(default=lambda state: state)


@dataclass(frozen=True)
class Built:
    """A classifier, its input description, its backbone's parameter names from the input up, and what a weights file held besides."""

    model: Classifier
    description: InputDescription
    stages: Stages
    unused: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """Number of trainable numbers, head included."""
        return sum(parameter.numel() for parameter in self.model.parameters())


def weights_digest(weights: str, spec: ModelSpec) -> str:
    """What stands for `--weights` in a configuration's identity: the file's sha256, or the name of the published weights."""
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

    `overrides` are parts of the input description the user has set (mean, std, interpolation, crop_pct); None leaves the model's own.
    Random starts draw from torch's global generator.

    Raises:
        UserError: the library does not know the name, can't take the image size, or the weights can't be had or do not fit.
    """
    makers = {Library.TIMM: _timm, Library.OPEN_CLIP: _open_clip}
    backbone = makers[spec.library](spec, img_size, drop_path, weights == "hub")
    unused: list[str] = []
    if weights not in ("hub", "none"):
        path = Path(weights)
        unused = load_backbone(backbone.module, backbone.resize(read_state(path)), path, backbone.head_keys)
    model = Classifier(backbone.module, backbone.features, classes, dropout)
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    return Built(model, replace(backbone.description, **given), backbone.stages, tuple(unused))


def _timm(spec: ModelSpec, img_size: int, drop_path: float, hub: bool) -> Backbone:  # noqa: FBT001 - private
    tagged = spec.architecture if spec.hub == "default" else f"{spec.architecture}.{spec.hub}"
    options: dict[str, Any] = {"num_classes": 0}
    if drop_path:
        options["drop_path_rate"] = drop_path
    if not timm.is_model(spec.architecture):
        near = timm.list_models(f"*{spec.architecture[:8]}*")[:3]
        raise UserError(f"--model {spec.name}: timm has no {spec.architecture!r}.{' It has ' + ', '.join(near) if near else ''}")
    if spec.family.value == "vit" and timm.get_pretrained_cfg_value(spec.architecture, "fixed_input_size"):
        options["img_size"] = img_size
    try:
        module = _from_hub(spec, lambda: timm.create_model(tagged, pretrained=hub, **options), hub=hub)
    except TypeError as error:
        raise UserError(f"--model {spec.name}: timm's builder refuses a setting ({error}); try --drop-path 0") from error
    config = resolve_model_data_config(module)
    interpolation = config["interpolation"] if config["interpolation"] in ("bilinear", "bicubic") else "bicubic"
    description = InputDescription(img_size, tuple(config["mean"]), tuple(config["std"]), interpolation, float(config["crop_pct"]))
    stages = convnext_stages(module) if spec.architecture.startswith("convnext") else timm_stages(module)
    heads = module.pretrained_cfg.get("classifier") or "head"
    heads = (heads,) if isinstance(heads, str) else tuple(heads)

    def resize(state: State) -> State:
        own = module.state_dict().get("pos_embed")
        if own is None or "pos_embed" not in state or state["pos_embed"].shape == own.shape:
            return state
        grid = module.patch_embed.grid_size
        return {**state, "pos_embed": resample_abs_pos_embed(state["pos_embed"], list(grid), num_prefix_tokens=module.num_prefix_tokens)}

    return Backbone(module, module.head_hidden_size, description, stages, heads, resize)


def _open_clip(spec: ModelSpec, img_size: int, drop_path: float, hub: bool) -> Backbone:  # noqa: FBT001 - private
    if drop_path:
        raise UserError(f"--drop-path {drop_path}: {spec.name} has no stochastic depth; leave it at 0")
    config = open_clip.get_model_config(spec.architecture)
    if config is None:
        near = [name for name in open_clip.list_models() if spec.architecture.lower()[:5] in name.lower()][:3]
        raise UserError(f"--model {spec.name}: open_clip has no {spec.architecture!r}.{' It has ' + ', '.join(near) if near else ''}")
    vision = {**config["vision_cfg"], "image_size": img_size}
    tower = open_clip.CLIP(config["embed_dim"], vision, _NO_TEXT, quick_gelu=bool(config.get("quick_gelu"))).visual
    published = open_clip.get_pretrained_cfg(spec.architecture, spec.hub)
    if hub:
        if not published:
            tags = ", ".join(open_clip.list_pretrained_tags_by_model(spec.architecture)) or "none"
            raise UserError(f"no published weights {spec.hub!r} for {spec.name} (published: {tags}): give --weights PATH or --weights none")
        whole = _from_hub(spec, lambda: open_clip.create_model(spec.architecture, spec.hub, force_image_size=img_size), hub=True)
        tower.load_state_dict(whole.visual.state_dict())
    description = InputDescription(
        size=img_size,
        mean=tuple(published.get("mean", open_clip.OPENAI_DATASET_MEAN)),
        std=tuple(published.get("std", open_clip.OPENAI_DATASET_STD)),
        interpolation="bicubic",
        crop_pct=1.0,
    )
    return Backbone(tower, config["embed_dim"], description, _tower_stages(tower), _BESIDE_THE_TOWER, _tower_resize(tower))


def _tower_stages(tower: nn.Module) -> Stages:
    """open_clip's three kinds of image tower: its own ViT, a timm model with a projection behind it, the old ResNets."""
    if hasattr(tower, "transformer"):
        return vit_stages(tower)
    if hasattr(tower, "trunk"):
        return [*timm_stages(tower.trunk, "trunk."), [name for name, _ in tower.head.named_parameters("head")]]
    return [[name for name, _ in tower.named_parameters()]]


def _tower_resize(tower: nn.Module) -> Callable[[State], State]:
    def resize(state: State) -> State:
        """Interpolate the position embedding to this image size, wherever the file keeps it."""
        prefix = "" if any(name.startswith("visual.") for name in state) else "visual."
        moved = {prefix + name: tensor for name, tensor in state.items()}
        if "visual.positional_embedding" in moved and hasattr(tower, "grid_size"):
            resize_pos_embed(moved, SimpleNamespace(visual=tower))
        return {name[len(prefix) :]: tensor for name, tensor in moved.items()}

    return resize


def _from_hub(spec: ModelSpec, make: Callable[[], Any], *, hub: bool) -> Any:  # noqa: ANN401 - timm's or open_clip's model
    """Call `make`; where it was to fetch weights and could not, say what to do instead of starting from random ones."""
    if not hub:
        return make()
    try:
        return make()
    except TypeError:
        raise
    except Exception as error:  # whatever a network, a proxy, a cache or a hub's client may raise
        cause = (str(error) or type(error).__name__).splitlines()[0][:140]
        raise UserError(f"the pretrained weights of {spec.name} can't be fetched ({cause}): {_REMEDIES}") from error


def set_channels_last(model: nn.Module, spec: ModelSpec) -> torch.memory_format:
    """Lay a CNN's weights out channels-last (1.3-2x faster on CPU, never slower on GPU). Returns the format its inputs should have."""
    if spec.family.value != "cnn":
        return torch.contiguous_format
    model.to(memory_format=torch.channels_last)
    return torch.channels_last
