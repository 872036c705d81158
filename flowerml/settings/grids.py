"""The search grid of each family, for plans and sweeps. Values off the grid are allowed, with a warning."""

from collections.abc import Mapping
from itertools import product
from typing import Any

from flowerml.settings.model_catalog import Family

_GRIDS: Mapping[Family, Mapping[str, tuple[Any, ...]]] = {
    Family.CNN: {
        "batch_size": (32, 64),
        "lr_head": (1e-3, 7e-4),
        "lr_backbone": (2e-4, 1e-4),
        "weight_decay": (0.02, 0.05),
        "label_smoothing": (0.05, 0.1),
        "freeze_backbone_epochs": (3, 5),
    },
    Family.VIT: {
        "lr_head": (1e-3, 5e-4),
        "lr_backbone": (1e-5, 5e-6),
        "weight_decay": (0.02, 0.05),
        "mixup": (0.1, 0.2),
        "cutmix": (0.5, 1.0),
        "llrd": (0.75, 0.85),
    },
}


def grid(family: Family) -> Mapping[str, tuple[Any, ...]]:
    """The values of each varied setting, including the recipe's; empty for a family without a grid."""
    return _GRIDS.get(family, {})


def grid_points(family: Family) -> list[dict[str, Any]]:
    """All combinations of the grid's values: 64 for each family with a grid."""
    values = grid(family)
    return [dict(zip(values, point, strict=True)) for point in product(*values.values())]
