"""Image towers from open_clip."""

from collections.abc import Callable
from types import SimpleNamespace

import open_clip
from open_clip.model import resize_pos_embed
from torch import nn

from flowerml.data.transforms import InputDescription
from flowerml.errors import UserError
from flowerml.models.backbone import Backbone, UnknownModel, create_from_hub
from flowerml.models.layer_groups import LayerGroups, timm_layer_groups, vit_layer_groups
from flowerml.models.weights.state_dict import Tensors
from flowerml.settings import ModelSpec

# A minimal text tower: only the image tower is used, and the real text tower takes seconds and 500 MB.
_NO_TEXT = {"context_length": 8, "vocab_size": 8, "width": 64, "heads": 1, "layers": 1}
# Keys a file may hold besides the image tower: CLIP's text tower and scales, or a classifier's head.
_NON_TOWER_KEYS = (
    *("transformer.", "token_embedding", "positional_embedding", "ln_final", "text_projection", "text."),
    *("logit_scale", "logit_bias", "attn_mask", "input_resolution", "context_length", "vocab_size", "head"),
)


def open_clip_backbone(spec: ModelSpec, img_size: int, drop_path: float, *, hub: bool) -> Backbone:
    """open_clip's image tower with its projection. Raises UserError: unknown name, or weights not published."""
    if drop_path:
        raise UserError(f"--drop-path {drop_path}: {spec.name} has no stochastic depth; leave it at 0")
    config = open_clip.get_model_config(spec.architecture)
    if config is None:
        near = [name for name in open_clip.list_models() if spec.architecture.lower()[:5] in name.lower()][:3]
        raise UnknownModel(
            f"{spec.name}: open_clip has no {spec.architecture!r}.{' It has ' + ', '.join(near) if near else ''}"
        )
    published = open_clip.get_pretrained_cfg(spec.architecture, spec.hub)
    quick_gelu = uses_quick_gelu(spec)
    on_timm = "timm_model_name" in config["vision_cfg"]  # built at its own image size, then resized by timm
    vision = {**config["vision_cfg"], **({} if on_timm else {"image_size": img_size})}
    tower = open_clip.CLIP(config["embed_dim"], vision, _NO_TEXT, quick_gelu=quick_gelu).visual
    if hub:
        if not published:
            tags = ", ".join(open_clip.list_pretrained_tags_by_model(spec.architecture)) or "none"
            raise UserError(
                f"no published weights {spec.hub!r} for {spec.name} (published: {tags}): give --weights PATH or"
                " --weights none"
            )
        size = None if on_timm else img_size
        whole = create_from_hub(
            spec, lambda: open_clip.create_model(spec.architecture, spec.hub, force_image_size=size), hub=True
        )
        tower.load_state_dict(whole.visual.state_dict())
    if on_timm and img_size != vision.get("image_size"):
        tower.set_input_size(img_size)
    description = InputDescription(
        size=img_size,
        mean=tuple(published.get("mean", open_clip.OPENAI_DATASET_MEAN)),
        std=tuple(published.get("std", open_clip.OPENAI_DATASET_STD)),
        interpolation="bilinear" if published.get("interpolation") == "bilinear" else "bicubic",
        crop_pct=1.0,
    )
    return Backbone(
        tower, config["embed_dim"], description, _tower_layer_groups(tower), _NON_TOWER_KEYS, _tower_adapt(tower)
    )


def uses_quick_gelu(spec: ModelSpec) -> bool:
    """Whether its activation is QuickGELU: OpenAI's weights need it even where the name does not say so."""
    config = open_clip.get_model_config(spec.architecture) or {}
    published = open_clip.get_pretrained_cfg(spec.architecture, spec.hub)
    return bool(config.get("quick_gelu") or published.get("quick_gelu"))


def _tower_layer_groups(tower: nn.Module) -> LayerGroups:
    """Layer groups of open_clip's image towers: its ViT, a timm model with a projection, or a ResNet (one group)."""
    if hasattr(tower, "transformer"):
        return vit_layer_groups(tower)
    if hasattr(tower, "trunk"):
        head = [name for name, _ in tower.named_parameters() if name.startswith("head.")]
        return [*timm_layer_groups(tower.get_submodule("trunk"), "trunk."), *([head] if head else [])]
    return [[name for name, _ in tower.named_parameters()]]


def _tower_adapt(tower: nn.Module) -> Callable[[Tensors], Tensors]:
    def adapt(state: Tensors) -> Tensors:
        """Interpolate the position embedding to this image size, with or without a `visual.` prefix in the file."""
        prefix = "" if any(name.startswith("visual.") for name in state) else "visual."
        prefixed = {prefix + name: tensor for name, tensor in state.items()}
        if "visual.positional_embedding" in prefixed and hasattr(tower, "grid_size"):
            resize_pos_embed(prefixed, SimpleNamespace(visual=tower))
        return {name[len(prefix) :]: tensor for name, tensor in prefixed.items()}

    return adapt
