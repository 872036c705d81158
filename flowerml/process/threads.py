"""Work on many pictures in threads: Pillow and NumPy let the others run while they decode, resize and encode."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_MOST = 8  # more of them wait for each other's Python code


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_threads(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """`[function(item) for item in items]`, several at a time. The first exception is raised; what waits is left."""
    items = list(items)
    workers = min(_MOST, usable_cores(), len(items))
    if workers < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(workers, thread_name_prefix="pictures") as pool:
        return list(pool.map(function, items))
