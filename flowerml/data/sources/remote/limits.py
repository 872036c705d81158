"""How much of the disk pictures from elsewhere may take: bounds in environment variables."""

import os

from flowerml.errors import UserError

COPIES_VARIABLE = "FLOWERML_REMOTE_GB"  # of the copies of all addresses
STREAMED_VARIABLE = "FLOWERML_STREAMED_GB"  # of single pictures that were read from servers
_DEFAULT_GB = {COPIES_VARIABLE: 50.0, STREAMED_VARIABLE: 10.0}


def limit_bytes(variable: str) -> int:
    """The bound in bytes. Raises UserError where the variable is no number of GB."""
    text = os.environ.get(variable) or str(_DEFAULT_GB[variable])
    try:
        limit = float(text)
    except ValueError:
        limit = 0.0
    if not 0 < limit < 1e6:
        raise UserError(f"{variable} is {text!r}. Allowed: a number of GB, > 0")
    return int(limit * 10**9)
