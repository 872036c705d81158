"""Backbones from timm."""

import difflib
from typing import Any

import timm
from timm.data import resolve_model_data_config
from timm.layers import resample_abs_pos_embed

from flowerml.data.transforms import InputDescription
from flowerml.errors import UserError
from flowerml.models.backbone import Backbone, UnknownModel, create_from_hub
from flowerml.models.layer_groups import convnext_layer_groups, timm_layer_groups
from flowerml.models.weights import Tensors
from flowerml.settings import ModelSpec


def timm_backbone(spec: ModelSpec, img_size: int, drop_path: float, *, hub: bool) -> Backbone:
    """timm's model without its classifier. Raises UserError: unknown name, or an argument the model does not accept."""
    _check_names(spec)
    tagged = spec.architecture if spec.hub == "default" else f"{spec.architecture}.{spec.hub}"
    options: dict[str, Any] = {"num_classes": 0}
    if drop_path:
        options["drop_path_rate"] = drop_path
    if timm.get_pretrained_cfg_value(spec.architecture, "fixed_input_size"):
        options["img_size"] = img_size
    try:
        module = create_from_hub(spec, lambda: timm.create_model(tagged, pretrained=hub, **options), hub=hub)
    except TypeError as error:
        raise UserError(
            f"--model {spec.name}: timm's builder refuses a setting ({error}); try --drop-path 0"
        ) from error
    config = resolve_model_data_config(module)
    interpolation = config["interpolation"] if config["interpolation"] in ("bilinear", "bicubic") else "bicubic"
    description = InputDescription(
        img_size, tuple(config["mean"]), tuple(config["std"]), interpolation, float(config["crop_pct"])
    )
    layer_groups = (
        convnext_layer_groups(module) if spec.architecture.startswith("convnext") else timm_layer_groups(module)
    )
    heads = module.pretrained_cfg.get("classifier") or "head"
    heads = (heads,) if isinstance(heads, str) else tuple(heads)

    def resize(state: Tensors) -> Tensors:
        own = module.state_dict().get("pos_embed")
        if own is None or "pos_embed" not in state or state["pos_embed"].shape == own.shape:
            return state
        grid = module.patch_embed.grid_size
        return {
            **state,
            "pos_embed": resample_abs_pos_embed(
                state["pos_embed"], list(grid), num_prefix_tokens=module.num_prefix_tokens
            ),
        }

    return Backbone(module, module.head_hidden_size, description, layer_groups, heads, resize)


def _check_names(spec: ModelSpec) -> None:
    """Raise UnknownModel unless timm has the architecture and these weights of it."""
    if not timm.is_model(spec.architecture):
        near = difflib.get_close_matches(spec.architecture, timm.list_models(), n=3)
        raise UnknownModel(
            f"{spec.name}: timm has no {spec.architecture!r}.{' Near it: ' + ', '.join(near) if near else ''}"
        )
    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{spec.architecture}.*")]
    if spec.hub != "default" and spec.hub not in tags:
        raise UnknownModel(
            f"{spec.name}: timm has no weights {spec.hub!r} of {spec.architecture}; it has {', '.join(tags) or 'none'}"
        )
