"""Files of photos for the fresh processes that verify a delivery, which read files alone."""

import hashlib
import tempfile
from functools import cache
from pathlib import Path

from flowerml.data.decode import BadImage
from flowerml.data.location import PictureLocation
from flowerml.files import write_bytes


def as_file(location: PictureLocation) -> Path:
    """The file of a photo; of one that is part of a larger file a copy, which goes when this process ends.

    One that can't be read is a file that does not exist. Raises UserError where a copy can't be written.
    """
    if isinstance(location, Path):
        return location.resolve()
    path = Path(_scratch().name) / hashlib.sha256(repr(location).encode()).hexdigest()
    try:
        if not path.exists():
            write_bytes(path, location.read())
    except BadImage:
        pass
    return path


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="flowerml-photos-")
