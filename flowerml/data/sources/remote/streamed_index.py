"""Files whose pictures stay on the server: an index of each in the cache folder, and an empty file in its place.

`remote/<digest of the address>/files/` has an empty file by the name of the one on the server, so that a list of the
folder has it, and `remote/<…>/indexes/` what is in it. Only indexes there are read: one from elsewhere could name any
address.
"""

import hashlib
import os
from collections.abc import Collection
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from flowerml.data.location import location_state
from flowerml.data.scan_cache import cache_folder, load_entries, write_entries
from flowerml.data.sources.index_cache import Rows
from flowerml.data.sources.remote.remote_span import RemoteFile
from flowerml.data.sources.remote.store import ObjectVersion
from flowerml.files import write_bytes

COPIES, FILES = "remote", "files"  # remote/<digest of the address>/files
_INDEXES = "indexes"
_FORM = ["flowerml-streamed-1"]


class StreamedIndex(NamedTuple):
    """What is in a file on a server: of a tar file rows [name, offset, size, label]."""

    file: RemoteFile
    rows: Rows


def read_index(path: Path) -> StreamedIndex | None:
    """The index of the file whose empty stand-in is `path`; None where it is none, or its index is not whole."""
    folder = path.parent
    try:
        if path.stat().st_size or folder.name != FILES:
            return None
    except OSError:
        return None
    if os.path.realpath(folder.parent.parent) != os.path.realpath(cache_folder() / COPIES):
        return None
    index = _index_file(path)
    state = location_state(index)
    return None if state is None else _load(index, tuple(state))


def write_index(path: Path, index: StreamedIndex) -> None:
    """Store the index, then the stand-in `path`. Raises UserError as `write_bytes`."""
    content = {"address": index.file.address, "version": asdict(index.file.version), "rows": index.rows}
    write_entries(_index_file(path), _FORM, content)
    write_bytes(path, b"")


def remove_other_indexes(files: Path, streamed: Collection[str]) -> None:
    """Remove the indexes of all files of the copy but those named."""
    wanted = {_index_file(files / name) for name in streamed}
    for index in (files.parent / _INDEXES).glob("*.json"):
        if index not in wanted:
            index.unlink(missing_ok=True)


def _index_file(path: Path) -> Path:
    name = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]
    return path.parent.parent / _INDEXES / f"{name}.json"


@lru_cache(maxsize=4096)
def _load(index: Path, _state: tuple[int, ...]) -> StreamedIndex | None:
    content = load_entries(index, _FORM)
    if not content:
        return None
    return StreamedIndex(RemoteFile(content["address"], ObjectVersion(**content["version"])), content["rows"])
