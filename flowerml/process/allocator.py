"""Settings of glibc's malloc, for processes that compute on a CPU."""

import ctypes
import os
from collections.abc import Mapping
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h
_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_")


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, for its next allocation. Returns whether malloc does so now.

    By default glibc hands blocks above 32 MiB back to the kernel, which clears each page anew at the next allocation:
    in a training on a CPU every activation of every step. Peak memory stays about the same; results do not depend on
    it. Nothing is set where the user has chosen (mallopt(3) names the environment variables), or without glibc.
    """
    if _is_chosen(os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # macOS, musl
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, -1))


def return_freed_memory() -> None:
    """Hand freed memory back to the kernel once. Call it before a fork: the child would hold a copy of each page."""
    with suppress(OSError, AttributeError):  # without glibc
        ctypes.CDLL(None).malloc_trim(0)


def _is_chosen(environment: Mapping[str, str]) -> bool:
    """Whether the user has set one of malloc's variables himself."""
    tunables = environment.get("GLIBC_TUNABLES", "")
    return "glibc.malloc." in tunables or any(name in environment for name in _VARIABLES)
