"""Files of photos for the fresh processes that verify a delivery, which read files alone."""

import hashlib
import tempfile
from functools import cache
from pathlib import Path

from flowerml.data.decode import BadImage
from flowerml.data.location import PictureLocation, Span
from flowerml.files import write_bytes


def as_file(location: PictureLocation) -> Path:
    """The file of a photo; of one that is part of a larger file a copy, which goes when this process ends.

    One that can't be read is a file that does not exist. Raises UserError where a copy can't be written.
    """
    if not isinstance(location, Span):
        return location.resolve()
    name = hashlib.sha256(f"{location.path}\t{location.offset}\t{location.size}".encode("utf-8", "surrogateescape"))
    path = Path(_scratch().name) / name.hexdigest()
    try:
        if not path.exists():
            write_bytes(path, location.read())
    except BadImage:
        pass
    return path


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="flowerml-photos-")
