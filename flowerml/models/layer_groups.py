"""Layer groups for layer-wise learning-rate decay, and which parameters get no weight decay."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from timm.models import group_parameters
from torch import nn

LayerGroups = list[list[str]]


def convnext_layer_groups(backbone: nn.Module) -> LayerGroups:
    """Parameter names from the input up: the stem, then the 12 groups of the ConvNeXt authors, then the final norm.

    The third stage, the longest, is split into at most 9 groups. timm's own grouping has 38 for ConvNeXtV2-L, which at
    a decay of 0.75 all but freezes its lower half. Source: the authors' `optim_factory.py` (Liu et al. 2022, Woo et
    al. 2023).
    """
    names = [name for name, _ in backbone.named_parameters()]
    depth = 1 + max(int(found[1]) for name in names if (found := re.match(r"stages\.2\.blocks\.(\d+)\.", name)))
    middle = min(9, depth)
    last = 3 + middle

    def depth_of(name: str) -> int:
        found = re.match(r"stages\.(\d)\.(?:blocks\.(\d+)|downsample)\.", name)
        if not found:
            return 0 if name.startswith("stem.") else last + 1
        stage, block = int(found[1]), found[2]
        if stage == 3:
            return last
        if stage == 2 and block is not None:
            return 3 + int(block) * middle // depth
        return stage + 1  # stages 0 and 1, and the downsampling before stage 2, which goes with its first blocks

    return _group_by_depth({name: depth_of(name) for name in names})


def vit_layer_groups(backbone: nn.Module) -> LayerGroups:
    """Parameter names from the input up: patch and position embedding, each block, then final norm and projection."""
    names = [name for name, _ in backbone.named_parameters()]
    blocks = {name: int(found[1]) for name in names if (found := re.match(r"transformer\.resblocks\.(\d+)\.", name))}
    top = 2 + max(blocks.values())
    closing = ("ln_post.", "proj", "attn_pool")
    return _group_by_depth(
        {name: blocks[name] + 1 if name in blocks else top if name.startswith(closing) else 0 for name in names}
    )


def timm_layer_groups(backbone: nn.Module, prefix: str = "") -> LayerGroups:
    """Parameter names from the input up, as timm groups them; a single group where a model defines none."""
    if not hasattr(backbone, "group_matcher"):
        return [[prefix + name for name, _ in backbone.named_parameters()]]
    matcher: Any = backbone.group_matcher
    groups = group_parameters(backbone, matcher(coarse=False))
    return _group_by_depth({prefix + name: number for number, names in groups.items() for name in names})


def lr_multipliers(layer_groups: Sequence[Sequence[str]], decay: float) -> list[float]:
    """The factor on `lr_backbone` of each group: decay to the power of its distance from the top group, which has 1."""
    return [decay ** (len(layer_groups) - 1 - place) for place in range(len(layer_groups))]


# Class, register and position embeddings, by the names timm, open_clip and the old ResNet towers give them.
_EMBEDDINGS = frozenset(
    {"class_embedding", "positional_embedding", "cls_token", "reg_token", "dist_token", "pos_embed"}
)


def is_decay_free(name: str, parameter: nn.Parameter, exempt: frozenset[str] = frozenset()) -> bool:
    """Whether a parameter gets no weight decay: biases, norms, GRN's gamma and beta, embeddings, names in `exempt`."""
    return parameter.ndim <= 1 or ".grn." in name or name in exempt or name.rsplit(".", 1)[-1] in _EMBEDDINGS


def no_decay_names(backbone: nn.Module) -> frozenset[str]:
    """Parameters that the library exempts from weight decay."""
    library_rule: Any = getattr(backbone, "no_weight_decay", None)
    return frozenset(library_rule()) if library_rule is not None else frozenset()


def _group_by_depth(depths: Mapping[str, int]) -> LayerGroups:
    return [[name for name, depth in depths.items() if depth == level] for level in sorted(set(depths.values()))]
