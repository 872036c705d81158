"""What was found out about pictures that have not changed since: reading thousands of them once more takes seconds at
each start.

A picture counts as unchanged when its file has the same size, times of change (content and inode, in nanoseconds) and
inode number. The system sets the inode's time at every write, whatever a program does to the other one. What was
changed within a moment of being looked at is not remembered, as a further change in that moment could leave the same
times behind. A memory that can't be read, or is not whole, is none.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flowerml.errors import UserError
from flowerml.files import write_bytes

FOLDER = "FLOWERML_CACHE_DIR"
_FORMAT = "flowerml-scan-1"
_MOMENT_NS = 3 * 10**9  # file systems exist that count in steps of two seconds


def cache_folder() -> Path:
    """Where what can be found out again is kept: $FLOWERML_CACHE_DIR, else the user's cache folder."""
    named = os.environ.get(FOLDER)
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "flowerml"


@contextmanager
def cache_in(folder: Path) -> Iterator[None]:
    """Inside, what this process finds out is kept in `folder`: for pictures that are soon gone."""
    before = os.environ.get(FOLDER)
    os.environ[FOLDER] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[FOLDER]
        else:
            os.environ[FOLDER] = before


class ScanCache:
    """What is remembered of the files below one folder; `facts` are plain values, whatever the scan has found out."""

    def __init__(self, root: Path) -> None:
        self._root = root
        name = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:32]
        self._file = cache_folder() / "scans" / f"{name}.json"
        self._known: dict[str, list[Any]] = _read(self._file)
        self._fresh: dict[str, list[Any]] = {}

    def get(self, file: str) -> Mapping[str, Any] | None:
        """What is known of a file, None where nothing is or it may have changed."""
        known = self._known.get(file)
        if known is None or known[0] != _state(self._root / file):
            return None
        facts: Mapping[str, Any] = known[1]
        return facts

    def put(self, file: str, before: list[int] | None, facts: Mapping[str, Any]) -> None:
        """Remember what was found out about a file whose `state` was `before` when it was opened."""
        if (
            before is not None
            and before == _state(self._root / file)
            and max(before[1:3]) < time.time_ns() - _MOMENT_NS
        ):
            self._fresh[file] = [before, dict(facts)]

    def state(self, file: str) -> list[int] | None:
        """By what a change is noticed; None where the file can't be looked at."""
        return _state(self._root / file)

    def save(self) -> None:
        """Write down what is new. That it can't be written costs only time, so nobody is told."""
        if not self._fresh:
            return
        self._known |= self._fresh
        self._fresh = {}
        body = json.dumps({"format": _format(), "files": self._known}).encode()
        try:
            write_bytes(self._file, hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        except UserError:
            return


def _format() -> list[str]:
    """What the facts depend on: how pictures are decoded and hashed."""
    return [_FORMAT, *(f"{name} {version(name)}" for name in ("pillow", "imagehash"))]


def _state(path: Path) -> list[int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _read(file: Path) -> dict[str, list[Any]]:
    try:
        checksum, _, body = file.read_bytes().partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != checksum:
            return {}
        content = json.loads(body)
        return dict(content["files"]) if content["format"] == _format() else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}
