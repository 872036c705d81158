"""Parameter groups: learning rates of head and backbone, layer-wise decay, no weight decay on norms and biases."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from flowerml.models.classifier import Network
from flowerml.models.layer_groups import is_decay_free, lr_multipliers, no_decay_names

HEAD, BACKBONE = "head", "backbone"
_SMALLEST_NORM = 1e-12  # added to a gradient's norm before it divides


def parameter_groups(
    model: Network,
    layer_groups: Sequence[Sequence[str]],
    *,
    lr_head: float,
    lr_backbone: float,
    weight_decay: float,
    llrd: float,
    factors: Mapping[str, Sequence[nn.Parameter]] | None = None,
) -> list[dict[str, Any]]:
    """Optimizer groups; each carries `base_lr` (which the schedule multiplies) and `part` (head or backbone).

    `layer_groups` are the backbone's parameter names from the input up; `llrd` is the layer-wise learning-rate decay
    between neighbours. Every parameter is in exactly one group (asserted). With `factors` (of LoRA, by the name of the
    matrix) these are trained in place of the backbone's parameters, each with the rate of its matrix.
    """
    named = dict(model.backbone.named_parameters())
    exempt = no_decay_names(model.backbone)
    groups: list[dict[str, Any]] = []
    for names, factor in zip(layer_groups, lr_multipliers(layer_groups, llrd), strict=True):
        for free in (False, True):
            chosen = [name for name in names if is_decay_free(name, named[name], exempt) is free]
            members = [named[name] for name in chosen]
            if factors is not None:
                members = [factor for name in chosen for factor in factors.get(name, ())]
            groups.append(_make_group(members, lr_backbone * factor, 0.0 if free else weight_decay, BACKBONE))
    head = list(model.head.named_parameters())
    for free in (False, True):
        members = [parameter for name, parameter in head if is_decay_free(name, parameter) is free]
        groups.append(_make_group(members, lr_head, 0.0 if free else weight_decay, HEAD))
    groups = [group for group in groups if group["params"]]
    grouped = sum(len(group["params"]) for group in groups)
    of_backbone = len(named) if factors is None else sum(map(len, factors.values()))
    assert grouped == len(head) + of_backbone, "a parameter is in no group or in two"
    return groups


def make_optimizer(kind: str, groups: list[dict[str, Any]], *, fused: bool = False) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), or SGD with Nesterov momentum 0.9, over `parameter_groups`.

    `fused`: one kernel for all weights, which can skip a step on the device; the order of its operations differs.
    """
    implementation = True if fused else None  # None: torch's choice
    if kind == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, nesterov=True, fused=implementation)
    return torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8, fused=implementation)


def load_optimizer_state(optimizer: torch.optim.Optimizer, state_dict: dict[str, Any]) -> None:
    """Load a state that a fused or another implementation has saved; the optimizer keeps its own implementation."""
    own = [{key: group[key] for key in ("fused", "foreach")} for group in optimizer.param_groups]
    saved = [{**group, **keys} for group, keys in zip(state_dict["param_groups"], own, strict=True)]
    optimizer.load_state_dict({**state_dict, "param_groups": saved})


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float, scale: float, min_lr: float) -> None:
    """Set every group's rate to base x schedule factor x plateau scale.

    Plateau cuts end at `min_lr`, or at the base rate where that is lower.
    """
    for group in optimizer.param_groups:
        floor = min(min_lr, group["base_lr"]) if scale < 1 else 0.0
        group["lr"] = max(group["base_lr"] * scale, floor) * factor


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The largest rate of each part, as logged: `lr_head`, `lr_backbone` (0 where the head alone is trained)."""
    return {
        f"lr_{part}": max((g["lr"] for g in optimizer.param_groups if g["part"] == part), default=0.0)
        for part in (HEAD, BACKBONE)
    }


def _make_group(members: list[nn.Parameter], rate: float, decay: float, part: str) -> dict[str, Any]:
    return {"params": members, "lr": rate, "base_lr": rate, "weight_decay": decay, "part": part}


@contextmanager
def moved_uphill(parameters: Sequence[nn.Parameter], rho: float) -> Iterator[None]:
    """Context with the weights moved by `rho` along their gradient, which is used up; then as before, bit for bit.

    The perturbation of SAM (Foret et al. 2021, "Sharpness-Aware Minimization for Efficiently Improving Generalization",
    equation 2). Its length is `rho` whatever the gradient's, so a gradient that a scaler has multiplied will do.
    Weights without a gradient stay. Needs memory for one more copy of the weights; no sync point.
    """
    moved = [(weight, weight.grad) for weight in parameters if weight.grad is not None]
    before = [weight.detach().clone() for weight, _ in moved]
    factor = rho / (torch.nn.utils.get_total_norm([gradient for _, gradient in moved]) + _SMALLEST_NORM)
    try:
        with torch.no_grad():
            for weight, gradient in moved:
                weight.add_(gradient.mul_(factor))
        yield
    finally:
        with torch.no_grad():
            for (weight, _), value in zip(moved, before, strict=True):
                weight.copy_(value)
