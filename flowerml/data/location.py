"""Where a picture's bytes lie: in a file of their own, or in a part of a larger file."""

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from flowerml.data.decode import BadImage, decode, read_bytes
from flowerml.data.workers.prefetch import read_source
from flowerml.files import file_digest


class Unreachable(BadImage):
    """Bytes that can't be read now, which says nothing about the picture; the message names the address."""


class Part(Hashable, Protocol):
    """A part of a larger file, on this machine or on a server; one that is equal has the same bytes."""

    @property
    def size(self) -> int:
        """How many bytes it has."""
        ...

    @property
    def is_remote(self) -> bool:
        """Whether its bytes may have to come from a server."""
        ...

    def read(self) -> bytes:
        """The bytes. Raises BadImage; Unreachable where only the way to them is broken."""
        ...

    def state(self) -> list[int] | None:
        """As `location_state`."""
        ...


@dataclass(frozen=True, slots=True)
class Span:
    """`size` bytes of the file `path` from `offset` on, such as a member of a tar file."""

    path: Path
    offset: int
    size: int

    @property
    def is_remote(self) -> bool:
        """As `Part.is_remote`."""
        return False

    def read(self) -> bytes:
        """The bytes. Raises BadImage where the file can't be read, or ends before."""
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except OSError as error:
            raise BadImage(error.strerror or str(error)) from error
        if len(data) != self.size:
            raise BadImage(f"{self.path} is shorter than it was when it was listed")
        return data

    def state(self) -> list[int] | None:
        """That of the file, with offset and size in it."""
        state = location_state(self.path)
        return None if state is None else [*state, self.offset, self.size]


PictureLocation = Path | Part
"""A picture's own file, or the part of a file that holds it."""


def read_location(location: PictureLocation) -> bytes:
    """A picture's bytes, as they were read ahead where they were. Raises BadImage where they can't be read."""
    return read_bytes(location) if isinstance(location, Path) else read_source(location)


def read_image_at(location: PictureLocation) -> Image.Image:
    """The picture, upright, as `decode` of its bytes. Raises BadImage."""
    return decode(read_location(location))


def location_digest(location: PictureLocation) -> str:
    """sha256 (hex) of a picture's bytes. Raises as `file_digest` for a file, BadImage for a part of one."""
    return file_digest(location) if isinstance(location, Path) else hashlib.sha256(location.read()).hexdigest()


def location_state(location: PictureLocation) -> list[int] | None:
    """What a change of a picture is detected by: size, mtime, ctime and inode of its file, offset and size in it.

    The last two are left out for a file of its own; None where the file can't be read. A file on a server has 0 for
    times, as its version is known, and a number made of that version for the inode.
    """
    if not isinstance(location, Path):
        return location.state()
    try:
        status = location.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
