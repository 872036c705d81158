"""Heat maps: which parts of a picture raise a classifier's logit of a class.

CNNs: Grad-CAM, the last feature map weighted by the mean gradient of each channel (Selvaraju et al., "Grad-CAM: Visual
Explanations from Deep Networks via Gradient-based Localization", ICCV 2017, arXiv 1610.02391). ViTs: the patch tokens
that enter the last block, times their gradients, summed over channels (as HiResCAM, Draelos & Carin, arXiv 2011.08891);
the class token is dropped. Of the last block's output the head of most ViTs reads the class token alone, so the patch
tokens have no gradient there. captum and grad-cam do the same; neither is a dependency, and this is a page of torch.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from flowerml.errors import UserError
from flowerml.models.precision import plain_fp32

_BLOCKS = ("blocks", "resblocks")  # what timm and open_clip call a transformer's list of blocks


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
    """The last feature map (N, C, h, w), h > 1, and the input (N, T, D) of the last block, as far as seen."""

    feature_map: torch.Tensor | None = field(default=None)
    tokens: torch.Tensor | None = field(default=None)


@plain_fp32()
def heat_maps(model: nn.Module, inputs: torch.Tensor) -> HeatMaps:
    """Maps of the predicted classes for inputs (N, 3, S, S) of a classifier in evaluation mode.

    Raises:
        UserError: an architecture with neither feature maps nor tokens in a square grid.
    """
    with torch.enable_grad(), _recording(model) as recorded:
        logits = model(inputs.detach().requires_grad_())
        targets = logits.argmax(dim=1)
        activations = recorded.feature_map if recorded.tokens is None else recorded.tokens
        if activations is None:
            raise UserError(
                f"{type(model).__name__}: no feature map and no tokens were found in this architecture. Allowed: CNNs,"
                " and ViTs with a list of blocks"
            )
        # Pictures of a batch don't interact in evaluation mode: the gradient of the sum is that of each.
        chosen = logits.gather(1, targets[:, None]).sum()
        (gradients,) = torch.autograd.grad(chosen, activations)
    coarse = _token_map(activations, gradients) if recorded.tokens is not None else _grad_cam(activations, gradients)
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

    def keep_tokens(_module: nn.Module, args: tuple[object, ...]) -> None:
        first = args[0] if args else None
        if isinstance(first, torch.Tensor) and first.ndim == 3 and first.requires_grad and first.shape[1] > 1:
            recorded.tokens = first

    handles = [module.register_forward_hook(keep_map) for module in model.modules()]
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in _BLOCKS and isinstance(module, nn.Sequential | nn.ModuleList) and len(module):
            handles.append(module[-1].register_forward_pre_hook(keep_tokens))
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


def _side(tensor: torch.Tensor) -> int:
    """The side of a square map, channels first or last; 0 where it has none."""
    _, first, second, third = tensor.shape
    return second if second == third else first if first == second else 0


def _grad_cam(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """(N, h, w) from a feature map and its gradients, (N, C, h, w) or (N, h, w, C)."""
    if activations.shape[2] != activations.shape[3]:
        activations, gradients = (part.permute(0, 3, 1, 2) for part in (activations, gradients))
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    return (weights * activations).sum(dim=1)


def _token_map(tokens: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """(N, g, g) from tokens and their gradients (N, T, D): the last g * g tokens are patches, row by row."""
    side = math.isqrt(tokens.shape[1])
    patches = (tokens * gradients).sum(dim=2)[:, -side * side :]
    return patches.reshape(len(tokens), side, side)
