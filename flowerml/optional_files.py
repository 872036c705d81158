"""Figures, pages and tables for people: where one can't be made, it is named, and the work that it shows stays good."""

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from flowerml.errors import LeaseLost, Stopped, UserError, one_line

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


def write_optional(path: Path, write: Callable[[Path], object]) -> bool:
    """Write `path` with `write`, and whether that worked. Raises as `try_to_make`.

    An older file of that name would show something else, so it is removed.
    """
    if try_to_make(str(path), lambda: (write(path),)) is not None:
        return True
    with suppress(OSError):
        path.unlink(missing_ok=True)
    return False


def try_to_make(name: str, make: Callable[[], Result]) -> Result | None:
    """What `make` returns; None where it fails, for any reason but a stop: a warning names `name` and the reason.

    Raises:
        LeaseLost: another process owns the folder.
        Stopped, KeyboardInterrupt: a stop was requested.
    """
    try:
        return make()
    except (LeaseLost, Stopped):
        raise
    except Exception as error:  # memory, a full disk, a library: none of them makes the weights worse
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        words = reason if isinstance(error, UserError) and reason else f"{type(error).__name__}: {reason}".rstrip(": ")
        logger.warning(f"{name} could not be made ({one_line(words)}); all else is not affected")
        logger.debug("raised here", exc_info=error)
        return None
