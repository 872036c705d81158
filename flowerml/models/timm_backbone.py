"""Backbones from timm."""

import difflib
import inspect
import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from timm.layers import resample_abs_pos_embed
from timm.models import _builder as timm_builder
from torch import nn

from flowerml.data.transforms import InputDescription
from flowerml.errors import UserError
from flowerml.models.backbone import Backbone, UnknownModel, create_from_hub
from flowerml.models.layer_groups import convnext_layer_groups, timm_layer_groups
from flowerml.models.weights.state_dict import Tensors
from flowerml.settings import ModelSpec

Filter = Callable[[Tensors, nn.Module], Tensors]

_filter_lock = threading.Lock()


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

    @cache
    def find_filter() -> Filter | None:
        return _checkpoint_filter(tagged, options)

    def adapt(state: Tensors) -> Tensors:
        convert = find_filter()
        return _resize_position_embedding(convert(state, module) if convert else state, module)

    return Backbone(module, module.head_hidden_size, description, layer_groups, heads, adapt)


def _checkpoint_filter(name: str, options: Mapping[str, Any]) -> Filter | None:
    """timm's own function that maps a checkpoint of the original repository, or of another image size, to this model.

    timm has it in each model's builder only, which passes it to `load_pretrained`: that one is replaced for the time of
    building the model once more, without weights.
    """
    found: list[Filter | None] = []

    def note(*_: object, filter_fn: Filter | None = None, **__: object) -> None:
        found.append(filter_fn)

    with _filter_lock, torch.random.fork_rng(devices=[]):
        load = timm_builder.load_pretrained
        try:
            timm_builder.load_pretrained = note
            timm.create_model(name, pretrained=True, **options)
        finally:
            timm_builder.load_pretrained = load
    convert = found[0] if found else None
    if convert is None or len(inspect.signature(convert).parameters) > 1:
        return convert
    return lambda state, _: convert(state)  # type: ignore[call-arg] # some take the state alone


def _resize_position_embedding(state: Tensors, module: nn.Module) -> Tensors:
    """Interpolate `pos_embed` where timm's filter does not; how many tokens are no place in the picture is counted."""
    own, found = module.state_dict().get("pos_embed"), state.get("pos_embed")
    grid = getattr(getattr(module, "patch_embed", None), "grid_size", None)
    if own is None or found is None or grid is None or own.shape == found.shape or own.ndim != 3 or found.ndim != 3:
        return state
    tokens = own.shape[1] - grid[0] * grid[1]
    return {**state, "pos_embed": resample_abs_pos_embed(found, list(grid), num_prefix_tokens=tokens)}


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
