"""Numbers and pages among a command's own flags. Settings are parsed by `flowerml.settings`."""

import math
import re
from pathlib import Path

from flowerml.errors import UserError
from flowerml.files import check_writable


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


def parse_page(text: str | None, default: str) -> Path | None:
    """The page that `--html` asks for, `default` where it names none; None without the flag.

    Raises:
        UserError: its name is not that of a page, or it can't be written.
    """
    if text is None:
        return None
    page = Path(text or default)
    check_writable(page)  # first: the name of a folder need not end so
    if page.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--html is {text!r}. Allowed: a file name that ends in .html")
    return page
