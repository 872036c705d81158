"""Building a model for given weights: strict key match, no random initialisation, no access to a hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import nn

from flowerml.prediction.standalone.delivered_file import BadWeights
from flowerml.prediction.standalone.messages import first_line

Module = TypeVar("Module", bound=nn.Module)


def with_weights(make: Callable[[], Module], state: Mapping[str, torch.Tensor], name: str) -> Module:
    """Build with `make` and load `state`; returns the module in evaluation mode, fp16 weights as fp32.

    It is built on the meta device and takes over the tensors of `state` without a copy. Tensors that a library keeps
    outside the state dict (position tables, masks) have no values then: such a model is built again on the CPU.

    Raises:
        BadWeights: a key missing or unexpected, another shape or dtype; names the first.
    """
    try:
        with torch.device("meta"):
            module = make()
    except (NotImplementedError, RuntimeError, TypeError):  # the library computes with values while it builds
        module = _build_on_cpu(make, name)
    fitting = _fitting_state(module.state_dict(), state, name)
    module.load_state_dict(fitting, strict=True, assign=True)
    if _has_meta_tensors(module):
        module = _build_on_cpu(make, name)
        module.load_state_dict(fitting, strict=True, assign=True)
    return module.eval()


def _build_on_cpu(make: Callable[[], Module], name: str) -> Module:
    try:
        with torch.random.fork_rng(devices=[]):  # leaves the caller's random state as it is
            return make()
    except (NotImplementedError, RuntimeError, TypeError, AssertionError) as error:
        raise BadWeights(f"{name} can't be built with the libraries installed here ({first_line(error)})") from error


def _fitting_state(
    expected: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor], name: str
) -> dict[str, torch.Tensor]:
    """`state` in the model's dtypes, if its keys and shapes are the model's. Raises BadWeights."""
    keys_by_problem = {
        "missing": [key for key in expected if key not in state],
        "too many": [key for key in state if key not in expected],
    }
    problems = [f"{len(keys)} {problem}, first {keys[0]}" for problem, keys in keys_by_problem.items() if keys]
    fitting = {}
    for key, own in expected.items() if not problems else ():
        tensor = state[key]
        if tensor.shape != own.shape:
            problems.append(f"{key} is {tuple(tensor.shape)}, not {tuple(own.shape)}")
        if tensor.dtype != own.dtype and not (tensor.is_floating_point() and own.is_floating_point()):
            problems.append(f"{key} is {tensor.dtype}, not {own.dtype}")
        fitting[key] = tensor.to(own.dtype)
    if problems:
        raise BadWeights(f"its weights do not fit {name} ({'; '.join(problems[:3])})")
    return fitting


def _has_meta_tensors(module: nn.Module) -> bool:
    """Whether a parameter, a buffer or an attribute of a layer (also in a list) is left on the meta device."""
    for layer in module.modules():
        for value in vars(layer).values():
            values = (
                value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else (value,)
            )
            if any(isinstance(item, torch.Tensor) and item.is_meta for item in values):
                return True
    return False


def make_backbone(model: Mapping[str, str], size: int) -> tuple[nn.Module, int]:
    """The network without its head, and its number of features.

    `model` has the keys library, architecture and hub (the pretrained tag) of a weights file; `size` is in pixels.

    Raises:
        BadWeights: a library other than timm and open_clip, or an architecture that the installed one does not have.
    """
    architecture, hub = model["architecture"], model["hub"]
    if model["library"] == "timm":
        import timm

        if not timm.is_model(architecture):
            raise BadWeights(f"timm {timm.__version__} has no {architecture!r}")
        fixed = {"img_size": size} if timm.get_pretrained_cfg_value(architecture, "fixed_input_size") else {}
        tagged = architecture if hub == "default" else f"{architecture}.{hub}"
        backbone = timm.create_model(tagged, pretrained=False, num_classes=0, **fixed)
        return backbone, backbone.head_hidden_size
    if model["library"] == "open_clip":
        return _build_image_tower(architecture, hub, size)
    raise BadWeights(f"is for the library {model['library']!r}, which is neither timm nor open_clip")


def _build_image_tower(architecture: str, hub: str, size: int) -> tuple[nn.Module, int]:
    import open_clip

    if architecture not in open_clip.list_models():
        raise BadWeights(f"open_clip {open_clip.__version__} has no {architecture!r}")
    config = open_clip.get_model_config(architecture)
    published = open_clip.get_pretrained_cfg(architecture, hub)
    # OpenAI's weights need QuickGELU also where the architecture's own name does not say so.
    quick_gelu = bool(config.get("quick_gelu") or published.get("quick_gelu"))
    on_timm = "timm_model_name" in config["vision_cfg"]  # built at its own size, resized by timm afterwards
    vision = {**config["vision_cfg"], **({"timm_model_pretrained": False} if on_timm else {"image_size": size})}
    no_text = {"context_length": 8, "vocab_size": 8, "width": 64, "heads": 1, "layers": 1}
    tower = open_clip.CLIP(config["embed_dim"], vision, no_text, quick_gelu=quick_gelu).visual
    if on_timm and size != vision.get("image_size"):
        tower.set_input_size(size)
    return tower, config["embed_dim"]
