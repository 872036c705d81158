"""The search grid of each family, for plans and sweeps. Values off the grid are allowed, with a warning."""

from collections.abc import Mapping
from itertools import product
from typing import Any

from flowerml.settings.families.model_catalog import Family

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

# Of linear probes (`probe`): settings of the head only, the same for every family with a grid.
_PROBE_GRID: Mapping[str, tuple[Any, ...]] = {
    "lr_head": (3e-4, 1e-3, 3e-3, 1e-2),
    "weight_decay": (0.005, 0.02, 0.1, 0.5),
    "label_smoothing": (0.05, 0.1),
    "dropout": (0.0, 0.2),
}


def grid(family: Family, *, probe: bool = False) -> Mapping[str, tuple[Any, ...]]:
    """The values of each varied setting, including the recipe's; empty for a family without a grid.

    With `probe` those of linear probes.
    """
    return _PROBE_GRID if probe and family in _GRIDS else _GRIDS.get(family, {})


def grid_points(family: Family, *, probe: bool = False) -> list[dict[str, Any]]:
    """All combinations of the grid's values: 64 for each family with a grid."""
    values = grid(family, probe=probe)
    return [dict(zip(values, point, strict=True)) for point in product(*values.values())]
