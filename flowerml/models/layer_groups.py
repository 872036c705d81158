"""Which parameters lie how deep (for layer-wise decay of the learning rate), and which are spared weight decay."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from timm.models import group_parameters
from torch import nn

Stages = list[list[str]]


def convnext_stages(backbone: nn.Module) -> Stages:
    """Parameter names from the input up: the stem, then the 12 groups of the ConvNeXt authors, then the closing norm.

    Stage 3 of the network, its longest, is cut into (at most) 9 groups; timm would make 38 of ConvNeXtV2-L, which at a
    decay of 0.75 all but freezes its lower half. Source: the authors' `optim_factory.py` (Liu et al. 2022, Woo et al.
    2023).
    """
    names = [name for name, _ in backbone.named_parameters()]
    depth = 1 + max(int(found[1]) for name in names if (found := re.match(r"stages\.2\.blocks\.(\d+)\.", name)))
    middle = min(9, depth)
    last = 3 + middle

    def place(name: str) -> int:
        found = re.match(r"stages\.(\d)\.(?:blocks\.(\d+)|downsample)\.", name)
        if not found:
            return 0 if name.startswith("stem.") else last + 1
        stage, block = int(found[1]), found[2]
        if stage == 3:
            return last
        if stage == 2 and block is not None:
            return 3 + int(block) * middle // depth
        return stage + 1  # stages 0 and 1, and the downsampling before stage 2, which goes with its first blocks

    return _by_place({name: place(name) for name in names})


def vit_stages(backbone: nn.Module) -> Stages:
    """Parameter names from the input up: patch and position embedding, one group per block, then the closing norm and
    projection.
    """
    names = [name for name, _ in backbone.named_parameters()]
    blocks = {name: int(found[1]) for name in names if (found := re.match(r"transformer\.resblocks\.(\d+)\.", name))}
    top = 2 + max(blocks.values())
    closing = ("ln_post.", "proj", "attn_pool")
    return _by_place(
        {name: blocks[name] + 1 if name in blocks else top if name.startswith(closing) else 0 for name in names}
    )


def timm_stages(backbone: nn.Module, prefix: str = "") -> Stages:
    """Parameter names from the input up as timm itself groups them; one single group where a model does not say."""
    if not hasattr(backbone, "group_matcher"):
        return [[prefix + name for name, _ in backbone.named_parameters()]]
    matcher: Any = backbone.group_matcher
    groups = group_parameters(backbone, matcher(coarse=False))
    return _by_place({prefix + name: number for number, names in groups.items() for name in names})


def multipliers(stages: Sequence[Sequence[str]], decay: float) -> list[float]:
    """The factor on `lr_backbone` of each stage: decay to the power of its distance from the top; the top has 1."""
    return [decay ** (len(stages) - 1 - place) for place in range(len(stages))]


# Class, register and position embeddings, by the names timm, open_clip and the old ResNet towers give them.
_EMBEDDINGS = frozenset(
    {"class_embedding", "positional_embedding", "cls_token", "reg_token", "dist_token", "pos_embed"}
)


def is_decay_free(name: str, parameter: nn.Parameter, spared: frozenset[str] = frozenset()) -> bool:
    """Whether weight decay must leave a parameter alone: biases, norms, GRN's gamma and beta, embeddings, what `spared`
    names.
    """
    return parameter.ndim <= 1 or ".grn." in name or name in spared or name.rsplit(".", 1)[-1] in _EMBEDDINGS


def no_decay_names(backbone: nn.Module) -> frozenset[str]:
    """What the library itself exempts from weight decay."""
    ask: Any = getattr(backbone, "no_weight_decay", None)
    return frozenset(ask()) if ask is not None else frozenset()


def _by_place(places: Mapping[str, int]) -> Stages:
    return [[name for name, place in places.items() if place == level] for level in sorted(set(places.values()))]
