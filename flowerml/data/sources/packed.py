"""One file with many pictures and a list of them, in the cache folder: pictures of a form without random access.

The pictures' bytes come first, then their list as JSON, its length (8 bytes) and a magic number. The file is written
whole or not at all, and named by what it was made from.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from flowerml.data.location import location_state
from flowerml.data.scan_cache import cache_folder, is_settled
from flowerml.files import write_with

Row = list[Any]  # plain values of one picture, as JSON has them
_MAGIC = b"flowerml-packed1"
_SETTLING_S = 3.5
_TAIL = 8 + len(_MAGIC)


def packed_file(source: Path, kind: str) -> Path:
    """The file for the pictures of `source` as it is now; one of an earlier state has another name.

    Waits where `source` was changed within the last seconds, as another change could leave the same times.
    """
    state = location_state(source)
    if state is not None and not is_settled(state):
        time.sleep(_SETTLING_S)
        state = location_state(source)
    place = hashlib.sha256(os.fsencode(os.path.realpath(source))).hexdigest()[:32]
    version = hashlib.sha256(f"{kind} {state}".encode()).hexdigest()[:16]
    return cache_folder() / "packed" / f"{place}-{version}.pictures"


def read_rows(file: Path) -> list[Row] | None:
    """The list in a packed file; None where there is none, or not a whole one."""
    try:
        with file.open("rb") as handle:
            size = handle.seek(0, os.SEEK_END)
            handle.seek(max(0, size - _TAIL))
            tail = handle.read(_TAIL)
            length = int.from_bytes(tail[:8], "little")
            if tail[8:] != _MAGIC or length > size - _TAIL:
                return None
            handle.seek(size - _TAIL - length)
            rows: list[Row] = json.loads(handle.read(length))
            return rows
    except (OSError, ValueError):
        return None


def write_packed(file: Path, pictures: Iterator[tuple[bytes | None, Row]], needed: int) -> list[Row]:
    """Write the pictures; each row gets offset and size in front, -1 and 0 for one without bytes. Returns the rows.

    Packed files of earlier states of the same source are removed. `needed` is about the size in bytes.

    Raises:
        UserError: the cache folder can't be written to, or is full; or as the iterator.
    """
    rows: list[Row] = []

    def fill(temporary: Path) -> None:
        offset = 0
        with temporary.open("wb") as target:
            for data, row in pictures:
                rows.append([-1, 0, *row] if data is None else [offset, len(data), *row])
                target.write(data or b"")
                offset += len(data or b"")
            listed = json.dumps(rows).encode()
            target.write(listed + len(listed).to_bytes(8, "little") + _MAGIC)

    for earlier in file.parent.glob(f"{file.name.partition('-')[0]}-*.pictures"):
        with suppress(OSError):
            earlier.unlink()
    write_with(file, fill, needed)
    return rows
