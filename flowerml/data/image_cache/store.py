"""Where decoded pictures are kept: one protocol, in shared memory or in files."""

import logging
import mmap
import os
import secrets
import struct
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Protocol

import numpy as np

from flowerml.data.image_cache.entry import Entry

logger = logging.getLogger(__name__)

_HEADER = struct.Struct("<16s3I4x")  # magic, height, width, crc32 of the pixels
_MAGIC = b"flowerml-rgb-1\n"
_SUFFIX, _TEMPORARY = ".rgb", ".part"
_ABANDONED_S = 86_400  # temporary files of this age belong to a process that was killed


class Store(Protocol):
    """Pixels of the entries of one run by their index, for the process that made it and its forks."""

    def has(self, index: int) -> bool:
        """Whether the pixels are stored, as far as that shows without reading them."""
        ...

    def get(self, index: int) -> np.ndarray | None:
        """The pixels (height, width, 3), not to be written to; None where they are not stored."""
        ...

    def put(self, index: int, pixels: np.ndarray) -> None:
        """Store pixels of the entry's shape; nothing happens where they have no room. Never raises OSError."""
        ...


class RamStore:
    """Anonymous shared memory with one slot per entry: loader processes, forked later, fill and read the same slots.

    Two that fill one slot at the same time write the same bytes. Memory is taken as slots are filled. Entries beyond
    `limit` bytes have no slot.
    """

    def __init__(self, entries: Sequence[Entry], limit: int) -> None:
        """Raise OSError where the system refuses so much memory."""
        self._entries = entries
        ends = list(takewhile(lambda end: end <= limit, accumulate(entry.nbytes for entry in entries)))
        self.count = len(ends)
        memory = mmap.mmap(-1, max(1, self.count + (ends[-1] if ends else 0)))
        bytes_ = np.frombuffer(memory, np.uint8)
        self._is_filled, self._pixels = bytes_[: self.count], bytes_[self.count :]
        self._starts = [0, *ends]

    def has(self, index: int) -> bool:
        """As `Store.has`."""
        return index < self.count and bool(self._is_filled[index])

    def get(self, index: int) -> np.ndarray | None:
        """As `Store.get`: a view of the memory."""
        if not self.has(index):
            return None
        entry = self._entries[index]
        pixels = self._slot(index).reshape(entry.height, entry.width, 3)
        pixels.flags.writeable = False
        return pixels

    def put(self, index: int, pixels: np.ndarray) -> None:
        """As `Store.put`."""
        if index < self.count:
            self._slot(index)[:] = pixels.reshape(-1)
            self._is_filled[index] = 1  # after the pixels: who sees it set may read them

    def _slot(self, index: int) -> np.ndarray:
        return self._pixels[self._starts[index] : self._starts[index + 1]]


class DiskStore:
    """One file per entry in `folder`, for any number of processes and later runs.

    Files are written beside their place and renamed. A file whose size, shape or (when a process reads it first)
    checksum is wrong counts as not stored. Files are read whole, not mapped: a mapped one that is cut off by another
    process would end this one. Entries beyond `limit` bytes are not stored; files of other runs are removed, oldest
    first, until all fit.
    """

    def __init__(self, entries: Sequence[Entry], folder: Path, limit: int) -> None:
        self._entries, self._folder = entries, folder
        ends = accumulate(entry.nbytes + _HEADER.size for entry in entries)
        self.count = sum(1 for _ in takewhile(lambda end: end <= limit, ends))
        own = {entry.key for entry in entries[: self.count]}
        _make_room(folder, own, limit - sum(entry.nbytes + _HEADER.size for entry in entries[: self.count]))
        self._verified: set[int] = set()
        self._has_failed = mmap.mmap(-1, 1)  # shared with forks: a full disk is said once

    def has(self, index: int) -> bool:
        """As `Store.has`."""
        return index < self.count and self._path(self._entries[index]).exists()

    def get(self, index: int) -> np.ndarray | None:
        """As `Store.get`."""
        if index >= self.count:
            return None
        entry = self._entries[index]
        try:
            with self._path(entry).open("rb") as file:
                content = file.read(_HEADER.size + entry.nbytes + 1)
        except OSError:
            return None
        if len(content) != _HEADER.size + entry.nbytes:
            return None
        magic, height, width, checksum = _HEADER.unpack_from(content)
        if (magic.rstrip(b"\0"), height, width) != (_MAGIC, entry.height, entry.width):
            return None
        if index not in self._verified:
            if zlib.crc32(memoryview(content)[_HEADER.size :]) != checksum:
                return None
            self._verified.add(index)
        return np.frombuffer(content, np.uint8, offset=_HEADER.size).reshape(height, width, 3)

    def put(self, index: int, pixels: np.ndarray) -> None:
        """As `Store.put`; the first failure is reported, and nothing more is written."""
        if index >= self.count or self._has_failed[0]:
            return
        entry = self._entries[index]
        path = self._path(entry)
        temporary = path.with_name(f".{entry.key[:16]}.{secrets.token_hex(8)}{_TEMPORARY}")
        data = pixels.tobytes()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                file.write(_HEADER.pack(_MAGIC, entry.height, entry.width, zlib.crc32(data)))
                file.write(data)
            temporary.replace(path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            self._report_failure(error)

    def _report_failure(self, error: OSError) -> None:
        if self._has_failed[0]:
            return
        self._has_failed[0] = 1
        logger.warning(
            f"the cache of pictures in {self._folder} can't be written ({error.strerror or error}): what it lacks is"
            " decoded anew in every epoch"
        )

    def _path(self, entry: Entry) -> Path:
        return self._folder / entry.key[:2] / f"{entry.key}{_SUFFIX}"


def stored_bytes(folder: Path) -> int:
    """Bytes of all pictures in the folder of a `DiskStore`."""
    return sum(status.st_size for _, status in _files(folder))


def _make_room(folder: Path, own: set[str], room: int) -> None:
    """Remove files whose key is not in `own`, oldest first, until they take at most `room` bytes."""
    others: list[tuple[float, int, Path]] = []
    for path, status in _files(folder):
        if path.suffix == _TEMPORARY:
            if time.time() - status.st_mtime > _ABANDONED_S:
                with suppress(OSError):
                    path.unlink()
        elif path.stem not in own:
            others.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in others)
    for _, size, path in sorted(others):
        if total <= room:
            return
        with suppress(OSError):
            path.unlink()
        total -= size


def _files(folder: Path) -> list[tuple[Path, os.stat_result]]:
    found = []
    for path in folder.glob("??/*") if folder.is_dir() else ():
        with suppress(OSError):  # another process has removed it
            found.append((path, path.stat()))
    return found
