"""A cache of scan results on disk, since reading thousands of pictures again takes seconds at each start.

A file counts as unchanged when its size, mtime, ctime (nanoseconds) and inode number are the same; the system sets
ctime at every write, whatever a program does to mtime. A file modified within seconds before it was read is not cached,
because another change could leave the same times. A cache file that is damaged or unreadable is ignored.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flowerml.data.location import PictureLocation, location_state
from flowerml.errors import UserError
from flowerml.files import write_bytes
from flowerml.process.environment import temporary_home

CACHE_DIR_VARIABLE = "FLOWERML_CACHE_DIR"
_FORMAT = "flowerml-scan-2"  # 2: with contrast and colours
_MIN_AGE_NS = 3 * 10**9  # some file systems store times in steps of two seconds


def cache_folder() -> Path:
    """$FLOWERML_CACHE_DIR, else `flowerml` in the user's cache folder; a temporary one for a user without a home."""
    if named := os.environ.get(CACHE_DIR_VARIABLE):
        return Path(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "flowerml"
    except RuntimeError:  # no HOME and no passwd entry
        return temporary_home() / ".cache" / "flowerml"


@contextmanager
def use_cache_folder(folder: Path) -> Iterator[None]:
    """Context in which this process caches in `folder`, for temporary pictures."""
    before = os.environ.get(CACHE_DIR_VARIABLE)
    os.environ[CACHE_DIR_VARIABLE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[CACHE_DIR_VARIABLE]
        else:
            os.environ[CACHE_DIR_VARIABLE] = before


class ScanCache:
    """Cached `facts` (plain values from the scan) of the files below one folder, or of the pictures of one list.

    Where a picture is not the file below the folder, its location is given with it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        name = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:32]
        self._file = cache_folder() / "scans" / f"{name}.json"
        self._entries: dict[str, list[Any]] = load_entries(self._file, _format())
        self._new: dict[str, list[Any]] = {}

    def get(self, file: str, location: PictureLocation | None = None) -> Mapping[str, Any] | None:
        """The facts of a file; None where there are none or it may have changed."""
        entry = self._entries.get(file)
        if entry is None or entry[0] != self.file_state(file, location):
            return None
        facts: Mapping[str, Any] = entry[1]
        return facts

    def put(
        self,
        file: str,
        before: list[int] | None,
        facts: Mapping[str, Any],
        location: PictureLocation | None = None,
    ) -> None:
        """Store the facts of a file whose `file_state` was `before` when it was opened."""
        if before is not None and before == self.file_state(file, location) and is_settled(before):
            self._new[file] = [before, dict(facts)]

    def file_state(self, file: str, location: PictureLocation | None = None) -> list[int] | None:
        """What a change is detected by, as `location_state`; None where the file can't be read."""
        return location_state(self._root / file if location is None else location)

    def save(self) -> None:
        """Write new entries to disk. A failure only costs time at the next start, so it is not reported."""
        if not self._new:
            return
        self._entries |= self._new
        self._new = {}
        save_entries(self._file, _format(), self._entries)


def _format() -> list[str]:
    """The format with the versions of the libraries that decode and hash."""
    return [_FORMAT, *(f"{name} {version(name)}" for name in ("pillow", "imagehash"))]


def is_settled(state: list[int]) -> bool:
    """Whether a file of that `location_state` was last changed long enough ago for another change to show."""
    return max(state[1:3]) < time.time_ns() - _MIN_AGE_NS


def load_entries(file: Path, form: list[str]) -> dict[str, Any]:
    """What `save_entries` stored under this format; nothing where there is none, or it is damaged."""
    try:
        checksum, _, body = file.read_bytes().partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != checksum:
            return {}
        content = json.loads(body)
        return dict(content["files"]) if content["format"] == form else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def save_entries(file: Path, form: list[str], entries: Mapping[str, Any]) -> None:
    """Store plain values. A failure only costs time at the next start, so it is not reported."""
    with suppress(UserError):
        write_entries(file, form, entries)


def write_entries(file: Path, form: list[str], entries: Mapping[str, Any]) -> None:
    """Store plain values for `load_entries`. Raises UserError as `write_bytes`."""
    body = json.dumps({"format": form, "files": entries}).encode()
    write_bytes(file, hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
