"""Indexes of large files, made once for each and kept in the cache folder for as long as the file does not change."""

import hashlib
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from flowerml.data.location import location_state
from flowerml.data.scan_cache import cache_folder, is_settled, load_entries, save_entries

Rows = list[Any]  # plain values, as JSON has them


def cached_index(path: Path, kind: str, build: Callable[[Path], Rows]) -> Rows:
    """What `build` returns for the file, from the cache where it is the same file; not to be changed.

    `kind` names the index and its version. Raises as `build`.
    """
    state = location_state(path)
    if state is None:
        return build(path)
    return _index(path, kind, build, tuple(state), cache_folder())


@lru_cache(maxsize=4096)
def _index(path: Path, kind: str, build: Callable[[Path], Rows], state: tuple[int, ...], cache: Path) -> Rows:
    name = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:32]
    file, before = cache / "indexes" / f"{name}.json", [*state]
    known = load_entries(file, [kind])
    if known.get("state") == before:
        rows: Rows = known["rows"]
        return rows
    rows = build(path)
    if location_state(path) == before and is_settled(before):
        save_entries(file, [kind], {"state": before, "rows": rows})
    return rows
