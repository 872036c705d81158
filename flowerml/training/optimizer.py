"""Parameter groups: head and backbone rates, layer decay, no decay where it harms."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from flowerml.models.classifier import Network
from flowerml.models.layer_groups import is_decay_free, multipliers, no_decay_names

HEAD, BACKBONE = "head", "backbone"


def parameter_groups(
    model: Network,
    stages: Sequence[Sequence[str]],
    *,
    lr_head: float,
    lr_backbone: float,
    weight_decay: float,
    llrd: float,
) -> list[dict[str, Any]]:
    """Optimiser groups. Each carries `base_lr` (what the schedule multiplies) and `part` (head or backbone).

    Every parameter is in exactly one group (checked).
    """
    named = dict(model.backbone.named_parameters())
    spared = no_decay_names(model.backbone)
    groups: list[dict[str, Any]] = []
    for names, factor in zip(stages, multipliers(stages, llrd), strict=True):
        for free in (False, True):
            members = [named[name] for name in names if is_decay_free(name, named[name], spared) is free]
            groups.append(_group(members, lr_backbone * factor, 0.0 if free else weight_decay, BACKBONE))
    for free in (False, True):
        members = [
            parameter for name, parameter in model.head.named_parameters() if is_decay_free(name, parameter) is free
        ]
        groups.append(_group(members, lr_head, 0.0 if free else weight_decay, HEAD))
    groups = [group for group in groups if group["params"]]
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters())), (
        "a parameter is in no group or in two"
    )
    return groups


def make_optimizer(kind: str, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), or SGD with Nesterov momentum 0.9, over `parameter_groups`."""
    if kind == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8)


def set_rates(optimizer: torch.optim.Optimizer, factor: float, scale: float, min_lr: float) -> None:
    """Give every group its rate: base x schedule factor x plateau scale; a plateau's cuts end at `min_lr` (or at the
    base, if lower).
    """
    for group in optimizer.param_groups:
        floor = min(min_lr, group["base_lr"]) if scale < 1 else 0.0
        group["lr"] = max(group["base_lr"] * scale, floor) * factor


def rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The largest rate of each part, as shown and logged: `lr_head`, `lr_backbone`."""
    return {
        f"lr_{part}": max(g["lr"] for g in optimizer.param_groups if g["part"] == part) for part in (HEAD, BACKBONE)
    }


def _group(members: list[nn.Parameter], rate: float, decay: float, part: str) -> dict[str, Any]:
    return {"params": members, "lr": rate, "base_lr": rate, "weight_decay": decay, "part": part}
