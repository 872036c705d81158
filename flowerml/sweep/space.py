"""What a sweep chooses from: the family's grid, every point once; or ranges around it, narrowed by what earlier trials
have shown.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowerml.errors import UserError
from flowerml.settings import Family, grid, grid_points, resolve
from flowerml.settings.errors import flag_name
from flowerml.settings.serialization import as_text

_WIDER = 3.0  # times beyond the grid's ends, to both sides: half a decade
_LOGARITHMIC = ("lr_head", "lr_backbone", "weight_decay")


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; `log`: each decade is as likely as another."""

    low: float
    high: float
    log: bool


@dataclass(frozen=True)
class Choice:
    """One of some values. What is no text, number or truth would not come back from a database."""

    values: tuple[Any, ...]


Dimension = Range | Choice


def ranges(family: Family, fixed: Mapping[str, Any]) -> dict[str, Dimension]:
    """The dimensions of `tpe`: the settings that the family's grid varies, but for those that are `fixed`.

    Rates and decay reach from a third of the grid's smallest value to three times its largest, on a logarithmic scale;
    shares and alphas from half to one and a half times, at most to 1; whole numbers are chosen from the grid's.
    """
    return {name: _dimension(name, values) for name, values in grid(family).items() if name not in fixed}


def _dimension(name: str, values: tuple[Any, ...]) -> Dimension:
    if all(isinstance(value, int) for value in values):
        return Choice(values)
    low, high = min(values), max(values)
    if name in _LOGARITHMIC:
        return Range(_rounded(low / _WIDER), _rounded(high * _WIDER), log=True)
    return Range(_rounded(low / 2), min(1.0, _rounded(high * 1.5)), log=False)


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def choices(family: Family, fixed: Mapping[str, Any]) -> dict[str, Dimension]:
    """The dimensions of `grid`: the family's own values, without the `fixed` settings."""
    return {name: Choice(values) for name, values in grid(family).items() if name not in fixed}


def points(family: Family, fixed: Mapping[str, Any], seed: int) -> list[dict[str, Any]]:
    """Every point of the family's grid once, without the `fixed` settings, in an order drawn from `seed`."""
    kept = [{name: value for name, value in point.items() if name not in fixed} for point in grid_points(family)]
    once = list({tuple(point.items()): point for point in kept}.values())
    random.Random(seed).shuffle(once)
    return once


def require_possible(given: Mapping[str, Any], dimensions: Mapping[str, Dimension]) -> None:
    """Make sure that what is given goes together with the ends of every dimension.

    Raises:
        UserError: a value can't be run with what is given; says which, and what to do.
    """
    for name, dimension in dimensions.items():
        for value in (dimension.low, dimension.high) if isinstance(dimension, Range) else dimension.values:
            try:
                resolve({**given, name: value})
            except UserError as error:
                raise UserError(
                    f"{error}; {as_text(value)} is in the space that is searched: give {flag_name(name)} a value for all"
                ) from error


def words(dimensions: Mapping[str, Dimension]) -> list[str]:
    """A line per dimension."""
    return [f"  {name}: {_words(dimension)}" for name, dimension in dimensions.items()]


def _words(dimension: Dimension) -> str:
    match dimension:
        case Range(low, high, log):
            return f"{as_text(low)} to {as_text(high)}{', logarithmic' if log else ''}"
        case Choice(values):
            return " or ".join(map(as_text, values))
