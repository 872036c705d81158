"""Pictures of a Parquet file on a server: a row can't be read alone, so its group of rows is fetched, and kept a while.

Of a group only the column with the pictures is asked for, by one request. All of its pictures are offered to the cache
of streamed pictures, and the groups that were used last stay in the memory of the process.
"""

import io
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from flowerml.data.decode import BadImage
from flowerml.data.location import Unreachable
from flowerml.data.sources.remote.remote_span import RemoteFile, streamed_pictures
from flowerml.errors import UserError

MAX_GROUP_BYTES = 10**9  # pictures of a group, which are in memory together
_MEMORY_BYTES = 2**28  # groups that stay in memory; the one that was used last stays in any case
_LARGE_BYTES = 2**25  # of such groups a process fetches one at a time, whatever its threads ask for
_BATCH = 64  # rows that are decoded at a time
_LOCKS = 16

Pictures = Sequence[bytes | None]


@dataclass(frozen=True, slots=True)
class RowGroup:
    """The group `number` of the rows of a Parquet file; `first` is the number of its first row in the file."""

    file: RemoteFile
    column: str
    number: int
    first: int

    def fetch(self) -> Pictures:
        """The pictures of its rows, from the server; None where a row has none.

        Raises:
            Unreachable: the server can't be reached, or has another version; BadImage: its bytes can't be read.
        """
        from pyarrow.parquet import ParquetFile  # late: 50 MB of memory for all who have no such files

        metadata = _metadata(self.file, os.getpid())
        with (
            _one_line(self.file, f", row group {self.number}") as ranges,
            ParquetFile(ranges, metadata=metadata, pre_buffer=False) as file,
        ):
            column = _column_of_bytes(self.column, file.schema_arrow)
            batches = file.iter_batches(_BATCH, row_groups=[self.number], columns=[column], use_threads=False)
            return [_bytes_of(value) for batch in batches for value in batch.column(self.column).to_pylist()]

    def size(self) -> int:
        """Bytes of its columns, unpacked. Raises as `fetch`."""
        return int(_metadata(self.file, os.getpid()).row_group(self.number).total_byte_size)


@dataclass(frozen=True, slots=True)
class RemoteRow:
    """The picture of `size` bytes in a row of a group; no connection is in it, so it goes to other processes."""

    group: RowGroup
    row: int
    size: int

    @property
    def is_remote(self) -> bool:
        """As `Part.is_remote`."""
        return True

    def read(self) -> bytes:
        """The bytes. Raises as `RowGroup.fetch`."""
        pictures = group_memory().find(self.group)
        if pictures is None:
            data = streamed_pictures().get(self.key)
            if data is not None and len(data) == self.size:
                return data
            pictures = group_memory().fetch(self.group)
        place = self.row - self.group.first
        data = pictures[place] if place < len(pictures) else None
        if data is None or len(data) != self.size:
            raise BadImage(f"{self.group.file.address}, row {self.row}: not the picture that was listed")
        return data

    @property
    def key(self) -> str:
        """Its name in the cache."""
        return _key(self.group.file, self.row)

    def state(self) -> list[int]:
        """As `location_state`."""
        file = self.group.file
        return [file.version.size or 0, 0, 0, int(file.digest()[:15], 16), self.row, self.size]


class GroupMemory:
    """The pictures of the groups that were used last, of `limit` bytes; one of a process, for all of its threads."""

    def __init__(self, limit: int) -> None:
        self._limit, self._taken = limit, 0
        self._groups: OrderedDict[RowGroup, Pictures] = OrderedDict()
        self._lock = threading.Lock()
        self._fetching = [threading.Lock() for _ in range(_LOCKS)]
        self._fetching_large = threading.Lock()

    def find(self, group: RowGroup) -> Pictures | None:
        """Its pictures; None where they are not here."""
        with self._lock:
            found = self._groups.get(group)
            if found is not None:
                self._groups.move_to_end(group)
            return found

    def fetch(self, group: RowGroup) -> Pictures:
        """Its pictures, from the server where they are not here; they are offered to the cache. Raises as `fetch`."""
        with self._fetching[hash(group) % _LOCKS]:  # who else wants them waits for them
            found = self.find(group)
            if found is not None:
                return found
            with self._fetching_large if group.size() > _LARGE_BYTES else nullcontext():
                found = group.fetch()
                self._keep(group, found)
        cache = streamed_pictures()
        for row, data in enumerate(found, group.first):
            if data is not None and not cache.has(key := _key(group.file, row)):
                cache.put(key, data)
        return found

    def _keep(self, group: RowGroup, pictures: Pictures) -> None:
        with self._lock:
            self._groups[group] = pictures
            self._taken += _size(pictures)
            while self._taken > self._limit and len(self._groups) > 1:
                _, oldest = self._groups.popitem(last=False)
                self._taken -= _size(oldest)


def group_memory() -> GroupMemory:
    """That of this process: the locks of one that forked may be held for good."""
    return _group_memory(os.getpid())


@lru_cache(maxsize=1)
def _group_memory(_process: int) -> GroupMemory:
    return GroupMemory(_MEMORY_BYTES)


def _size(pictures: Pictures) -> int:
    return sum(len(data) for data in pictures if data is not None)


def _key(file: RemoteFile, row: int) -> str:
    return file.digest(f"row {row}")


def _column_of_bytes(column: str, schema: Any) -> str:  # noqa: ANN401 - pyarrow has no types
    """The name of what has the bytes: of a struct one field is read, the others are not asked for."""
    from pyarrow import types

    return f"{column}.bytes" if types.is_struct(schema.field(column).type) else column


def _bytes_of(value: Any) -> bytes | None:  # noqa: ANN401
    data: bytes | None = value.get("bytes") if isinstance(value, Mapping) else value
    return data


@lru_cache(maxsize=16)
def _metadata(file: RemoteFile, _process: int) -> Any:  # noqa: ANN401
    """pyarrow's FileMetaData, from the end of the file, which is kept as a picture is."""
    from pyarrow.parquet import read_metadata

    with _one_line(file, "", are_kept=True) as ranges:
        return read_metadata(ranges)


@contextmanager
def _one_line(file: RemoteFile, where: str, *, are_kept: bool = False) -> Iterator["_Ranges"]:
    """Context with the file to be read from: Unreachable where that fails, BadImage where it has other bytes."""
    import pyarrow

    ranges = _Ranges(file, are_kept=are_kept)
    try:
        yield ranges
    except (pyarrow.ArrowException, OSError, ValueError, IndexError, KeyError, UserError) as error:
        if ranges.failed is not None:
            raise Unreachable(str(ranges.failed)) from error
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise BadImage(f"{file.address}{where}: can't be read as Parquet ({reason})") from error


class _Ranges(io.RawIOBase):
    """A file on a server as one that is open here: each read is a request, or comes from the cache where it `are_kept`.

    An error of the server is in `failed`, whatever becomes of it on its way through pyarrow.
    """

    def __init__(self, file: RemoteFile, *, are_kept: bool) -> None:
        self._file, self._are_kept = file, are_kept
        self._size, self._at = file.version.size or 0, 0
        self.failed: UserError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """As that of a file. Raises UserError as `RemoteFile.read`."""
        left = max(0, self._size - self._at)
        size = left if size is None or size < 0 else min(size, left)
        if not size:
            return b""
        try:
            data = self._read(self._at, size)
        except UserError as error:
            self.failed = error
            raise
        self._at += len(data)
        return data

    def _read(self, offset: int, size: int) -> bytes:
        if not self._are_kept:
            return self._file.read(offset, size)
        cache, key = streamed_pictures(), self._file.digest(f"{offset} {size}")
        data = cache.get(key)
        if data is None:
            data = self._file.read(offset, size)
            cache.put(key, data)
        return data
