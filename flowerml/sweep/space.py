"""The search space: the family's grid, every point once, or ranges around it for a sampler."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowerml.errors import UserError
from flowerml.settings import Family, grid, grid_points, resolve
from flowerml.settings.errors import flag_name
from flowerml.settings.serialization import as_text

_MARGIN = 3.0  # factor beyond both ends of the grid: half a decade
_LOGARITHMIC = ("lr_head", "lr_backbone", "weight_decay")


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; uniform, or log-uniform (`log`)."""

    low: float
    high: float
    log: bool


@dataclass(frozen=True)
class Choice:
    """One of some values: text, numbers or booleans, which a database returns unchanged."""

    values: tuple[Any, ...]


Dimension = Range | Choice


def range_dimensions(family: Family, fixed: Mapping[str, Any], *, probe: bool = False) -> dict[str, Dimension]:
    """The dimensions of `tpe`: the settings that the family's grid varies, but for those that are `fixed`.

    With `probe` that grid is the one of linear probes.

    Learning rates and weight decay: from a third of the grid's smallest value to three times its largest, log-uniform.
    Fractions and alphas: from half to one and a half times, at most 1. Integers: the grid's values.
    """
    return {name: _dimension(name, values) for name, values in grid(family, probe=probe).items() if name not in fixed}


def _dimension(name: str, values: tuple[Any, ...]) -> Dimension:
    if all(isinstance(value, int) for value in values):
        return Choice(values)
    low, high = min(values), max(values)
    if name in _LOGARITHMIC:
        return Range(_six_digits(low / _MARGIN), _six_digits(high * _MARGIN), log=True)
    return Range(_six_digits(low / 2), min(1.0, _six_digits(high * 1.5)), log=False)


def _six_digits(value: float) -> float:
    return float(f"{value:.6g}")


def grid_dimensions(family: Family, fixed: Mapping[str, Any], *, probe: bool = False) -> dict[str, Dimension]:
    """The dimensions of `grid`: the family's own values, without the `fixed` settings."""
    return {name: Choice(values) for name, values in grid(family, probe=probe).items() if name not in fixed}


def shuffled_grid(family: Family, fixed: Mapping[str, Any], seed: int, *, probe: bool = False) -> list[dict[str, Any]]:
    """Every point of the family's grid once, without the `fixed` settings, shuffled by `seed`."""
    points = [
        {name: value for name, value in point.items() if name not in fixed}
        for point in grid_points(family, probe=probe)
    ]
    unique = list({tuple(point.items()): point for point in points}.values())
    random.Random(seed).shuffle(unique)
    return unique


def check_dimensions(fixed: Mapping[str, Any], dimensions: Mapping[str, Dimension]) -> None:
    """Check that the fixed settings go together with the ends of every dimension.

    Raises:
        UserError: a value can't be run with the fixed settings; says which, and what to do.
    """
    for name, dimension in dimensions.items():
        for value in (dimension.low, dimension.high) if isinstance(dimension, Range) else dimension.values:
            try:
                resolve({**fixed, name: value})
            except UserError as error:
                raise UserError(
                    f"{error}; {as_text(value)} is in the space that is searched: give"
                    f" {flag_name(name)} a value for all"
                ) from error


def describe_space(dimensions: Mapping[str, Dimension]) -> list[str]:
    """A line per dimension."""
    return [f"  {name}: {_describe_dimension(dimension)}" for name, dimension in dimensions.items()]


def _describe_dimension(dimension: Dimension) -> str:
    match dimension:
        case Range(low, high, log):
            return f"{as_text(low)} to {as_text(high)}{', logarithmic' if log else ''}"
        case Choice(values):
            return " or ".join(map(as_text, values))
