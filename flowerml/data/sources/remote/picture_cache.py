"""Bytes of pictures that were read from a server, in files, bounded, for any number of processes and later runs.

A file begins with a sha256 over its name and its bytes: one that is damaged, cut off or another's counts as not there.
Files are written beside their place and renamed. How much they take stands in the file `state`, under its lock, so that
a new picture costs no look at the folder; the folder is listed only when it is full, at most every ten minutes.

What is removed was not used for the longest time, and not within the last hours. Where all was, a new picture is not
kept: an epoch reads each picture once, in an order of its own, so removing the least recently used one would remove
what is read next as often as not, and of a set that is much larger than the bound hardly anything would be found again.
"""

import fcntl
import hashlib
import logging
import os
import secrets
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from flowerml.files import file_size

logger = logging.getLogger(__name__)

_IDLE_S = 6 * 3600.0  # a picture that was not used for so long may go: longer than most epochs
_LOOK_AGAIN_S = 600.0  # after a look that found nothing to remove
_KEPT_SHARE = 0.9  # of the bound, after a removal: so that the next is not soon
_ABANDONED_S = 86_400.0  # temporary files of this age belong to a process that was killed
_STATE = struct.Struct("<qd")  # the fields of _State
_TEMPORARY = ".part"
_DIGEST_BYTES = 32
_failed: set[Path] = set()  # folders whose failure was said


class PictureCache:
    """The files of `folder`, which take up to `limit` bytes. No method raises: a failure costs time alone."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit

    def get(self, key: str) -> bytes | None:
        """The bytes of that key (hex); None where they are not there."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        with suppress(OSError):
            os.utime(path)  # what is used stays
        digest, data = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        return data if digest == _digest(key, data) else None

    def has(self, key: str) -> bool:
        """Whether there are bytes of that key, whole or damaged."""
        return self._path(key).exists()

    def put(self, key: str, data: bytes) -> None:
        """Store the bytes, where there is room for them."""
        path, size = self._path(key), _DIGEST_BYTES + len(data)
        temporary = path.with_name(f".{key[:16]}.{secrets.token_hex(8)}{_TEMPORARY}")
        try:
            with self._locked_state() as state:
                if state.is_full_for(size, self._limit):
                    return
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(_digest(key, data) + data)
            with self._locked_state() as state:  # counted and moved under one lock: what is counted is there
                if self._make_room(state, size - file_size(path)):
                    temporary.replace(path)
        except OSError as error:
            if self._folder not in _failed:
                _failed.add(self._folder)
                logger.warning(
                    f"pictures that were read from a server can't be kept in {self._folder}"
                    f" ({error.strerror or error}): they are read from there again"
                )
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / key

    def _make_room(self, state: "_State", size: int) -> bool:
        """Count `size` bytes more, after a removal where that is needed. False where there is no room for them."""
        if state.stored < 0:
            state.stored = self._remove(self._limit)
        if state.stored + size > self._limit:
            if state.is_full_for(size, self._limit):
                return False
            state.stored = self._remove(int(_KEPT_SHARE * self._limit) - size)
            state.full_until = 0.0 if state.stored + size <= self._limit else time.time() + _LOOK_AGAIN_S
        has_room = state.stored + size <= self._limit
        state.stored += size if has_room else 0
        return has_room

    @contextmanager
    def _locked_state(self) -> Iterator["_State"]:
        """Context of one process at a time, with the state, whose changes are written at the end."""
        self._folder.mkdir(parents=True, exist_ok=True)
        file = os.open(self._folder / "state", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            found = os.pread(file, _STATE.size, 0)
            state = _State(*_STATE.unpack(found)) if len(found) == _STATE.size else _State()
            yield state
            if (changed := _STATE.pack(state.stored, state.full_until)) != found:
                os.pwrite(file, changed, 0)
        finally:
            os.close(file)

    def _remove(self, target: int) -> int:
        """Remove idle files until all take `target` bytes, and others where the bound was lowered; what they take then.

        Those that were not used for the longest time go first.
        """
        now, total = time.time(), 0
        files = sorted(_files(self._folder), key=lambda file: file.used)
        for file in files:
            if file.path.suffix != _TEMPORARY:
                total += file.size
            elif abs(now - file.used) > _ABANDONED_S:
                file.path.unlink(missing_ok=True)
        for file in files:
            is_idle = abs(now - file.used) > _IDLE_S
            if file.path.suffix != _TEMPORARY and (total > self._limit or (is_idle and total > target)):
                file.path.unlink(missing_ok=True)
                total -= file.size
        return total


@dataclass
class _State:
    """Bytes of all files, below 0 where nothing is known; the time [s] before which there is nothing to remove."""

    stored: int = -1
    full_until: float = 0.0

    def is_full_for(self, size: int, limit: int) -> bool:
        """Whether `size` bytes do not fit, and a look for what may go was a short time ago."""
        return self.stored + size > limit and 0 < self.full_until - time.time() <= _LOOK_AGAIN_S


class _File(NamedTuple):
    path: Path
    size: int
    used: float


def _files(folder: Path) -> Iterator[_File]:
    for below in folder.glob("??"):
        with suppress(OSError), os.scandir(below) as entries:
            for entry in entries:
                with suppress(OSError):  # another process has removed it
                    status = entry.stat()
                    yield _File(Path(entry.path), status.st_size, status.st_mtime)


def _digest(key: str, data: bytes) -> bytes:
    return hashlib.sha256(key.encode() + data).digest()
