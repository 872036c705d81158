"""Where a picture's bytes lie: in a file of their own, or in a part of a larger file."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from flowerml.data.decode import BadImage, decode, read_bytes
from flowerml.files import file_digest


@dataclass(frozen=True, slots=True)
class Span:
    """`size` bytes of the file `path` from `offset` on, such as a member of a tar file."""

    path: Path
    offset: int
    size: int

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


PictureLocation = Path | Span
"""A picture's own file, or the part of a file that holds it."""


def read_location(location: PictureLocation) -> bytes:
    """A picture's bytes. Raises BadImage where they can't be read."""
    return location.read() if isinstance(location, Span) else read_bytes(location)


def read_image_at(location: PictureLocation) -> Image.Image:
    """The picture, upright, as `decode` of its bytes. Raises BadImage."""
    return decode(read_location(location))


def location_digest(location: PictureLocation) -> str:
    """sha256 (hex) of a picture's bytes. Raises as `file_digest` for a file, BadImage for a part of one."""
    return hashlib.sha256(location.read()).hexdigest() if isinstance(location, Span) else file_digest(location)


def location_state(location: PictureLocation) -> list[int] | None:
    """What a change of a picture is detected by: size, mtime, ctime and inode of its file, offset and size in it.

    The last two are left out for a file of its own; None where the file can't be read.
    """
    path = location.path if isinstance(location, Span) else location
    try:
        status = path.stat()
    except OSError:
        return None
    state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    return [*state, location.offset, location.size] if isinstance(location, Span) else state
