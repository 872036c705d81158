"""Numbers among a command's own flags. Settings are parsed by `flowerml.settings`."""

import math
import re

from flowerml.errors import UserError


def parse_int(flag: str, text: str, low: int, high: int) -> int:
    """A whole number from `low` to `high`. Raises UserError, which names the flag and the range."""
    if not re.fullmatch(r"[0-9]{1,12}", text) or not low <= int(text) <= high:
        raise UserError(f"{flag} is {text!r}. Allowed: whole number, {low} to {high}")
    return int(text)


def parse_float(flag: str, text: str, low: float, high: float) -> float:
    """A number from `low` to `high`. Raises UserError, which names the flag and the range."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        raise UserError(f"{flag} is {text!r}. Allowed: number, >= {low:g}, <= {high:g}")
    return number
