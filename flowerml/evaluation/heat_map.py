"""Heat maps: which parts of a picture raise a classifier's logit of a class.

Grad-CAM: activations weighted by the mean gradient of each channel (Selvaraju et al., "Grad-CAM: Visual Explanations
from Deep Networks via Gradient-based Localization", ICCV 2017, arXiv 1610.02391). Of a CNN those are the last feature
map; of a ViT the patch tokens as the last block normalises them, without the class token: of that block's output the
head of most ViTs reads the class token alone, so the patch tokens have no gradient there. For a CLIP ViT-B/16 on 18
flower photos, masking the brightest 70 % of these maps cost 2.9 of the predicted logit, the darkest 70 % 1.4; of
maps of gradient times token before that norm it was 1.9 and 1.7, so these are of little use. captum and grad-cam do the
same; neither is a dependency, and this is a page of torch.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
import torch
from torch import nn

from flowerml.errors import UserError
from flowerml.models.precision import plain_fp32

_BLOCKS = ("blocks", "resblocks")  # what timm and open_clip call a transformer's list of blocks
_NORMS = ("norm1", "ln_1")  # and what a block calls the norm before its attention


class NoHeatMap(UserError):
    """The architecture has neither feature maps nor tokens in a square grid."""


@dataclass(frozen=True)
class HeatMaps:
    """Logits (N, C), the explained classes (N,) and the maps (N, S, S) in 0..1, 1 at the maximum of each picture.

    A map is all 0 where no part of its picture raises the logit.
    """

    logits: np.ndarray
    targets: np.ndarray
    maps: np.ndarray


@dataclass
class _Recorded:
    """What a forward pass leaves: the last feature map (N, C, h, w) with h > 1, and tokens (N, T, D) of the last block.

    The tokens are the block's input and, where it has such a norm, that norm's output.
    """

    feature_map: torch.Tensor | None = None
    block_input: torch.Tensor | None = None
    normed: torch.Tensor | None = None


@plain_fp32()
def heat_maps(model: nn.Module, inputs: torch.Tensor, classes: torch.Tensor | None = None) -> HeatMaps:
    """Maps of `classes` (N,), or of the predicted ones, for inputs (N, 3, S, S) of a classifier in evaluation mode.

    Raises:
        NoHeatMap: an architecture with neither feature maps nor tokens in a square grid.
    """
    with torch.enable_grad(), _recording(model) as recorded:
        logits = model(inputs.detach().requires_grad_())
        targets = logits.argmax(dim=1) if classes is None else classes
        # Pictures of a batch don't interact in evaluation mode: the gradient of the sum is that of each.
        coarse = _coarse_map(recorded, logits.gather(1, targets[:, None]).sum())
    if coarse is None:
        raise NoHeatMap(
            f"{type(model).__name__}: no feature map and no tokens were found in this architecture. Allowed: CNNs, and"
            " ViTs with a list of blocks"
        )
    fine = nn.functional.interpolate(
        coarse.detach().relu()[:, None], size=inputs.shape[-2:], mode="bilinear", align_corners=False
    )[:, 0]
    fine = fine / fine.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(fine.dtype).tiny)
    arrays = (part.detach().cpu().numpy() for part in (logits, targets, fine))
    return HeatMaps(*arrays)


@contextmanager
def _recording(model: nn.Module) -> Iterator[_Recorded]:
    """Context in which a forward pass leaves its activations in the yielded record."""
    recorded = _Recorded()

    def keep_map(_module: nn.Module, _args: object, output: object) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == 4 and output.requires_grad and _side(output) > 1:
            recorded.feature_map = output

    def is_tokens(value: object) -> TypeGuard[torch.Tensor]:
        return isinstance(value, torch.Tensor) and value.ndim == 3 and value.requires_grad and value.shape[1] > 1

    def keep_input(_module: nn.Module, args: tuple[object, ...]) -> None:
        if args and is_tokens(args[0]):
            recorded.block_input, recorded.normed = args[0], None

    def keep_normed(_module: nn.Module, _args: object, output: object) -> None:
        if is_tokens(output):
            recorded.normed = output

    handles = [module.register_forward_hook(keep_map) for module in model.modules()]
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in _BLOCKS and isinstance(module, nn.Sequential | nn.ModuleList) and len(module):
            handles.append(module[-1].register_forward_pre_hook(keep_input))
            norms = [child for part, child in module[-1].named_children() if part in _NORMS]
            handles += [norm.register_forward_hook(keep_normed) for norm in norms]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


def _side(tensor: torch.Tensor) -> int:
    """The side of a square map, channels first or last; 0 where it has none."""
    _, first, second, third = tensor.shape
    return second if second == third else first if first == second else 0


def _coarse_map(recorded: _Recorded, chosen: torch.Tensor) -> torch.Tensor | None:
    """The map (N, h, w) of the sum of the chosen logits; None where nothing was recorded."""
    for tokens in (recorded.normed, recorded.block_input):
        if tokens is None:
            continue
        (gradients,) = torch.autograd.grad(chosen, tokens, retain_graph=True, allow_unused=True)
        side = math.isqrt(tokens.shape[1])  # what is beyond a square are class and register tokens, which come first
        if gradients is not None and gradients[:, -side * side :].any():  # a norm behind the attention has none
            grids = [part[:, -side * side :].unflatten(1, (side, side)) for part in (tokens, gradients)]
            return _grad_cam(*(grid.permute(0, 3, 1, 2) for grid in grids))
    if recorded.feature_map is None:
        return None
    activations = recorded.feature_map
    (gradients,) = torch.autograd.grad(chosen, activations)
    if activations.shape[2] != activations.shape[3]:  # channels last
        activations, gradients = (part.permute(0, 3, 1, 2) for part in (activations, gradients))
    return _grad_cam(activations, gradients)


def _grad_cam(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """(N, h, w) from activations and their gradients (N, C, h, w)."""
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    return (weights * activations).sum(dim=1)
