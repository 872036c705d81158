"""The sizes of the pictures themselves, for annotations that do not tell them."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image


def size_on_disk(folder: Path) -> Callable[[str], tuple[int, int] | None]:
    """A function from an image's name to the width and height in pixels of its file under `folder`; None where no file
    can be read.

    Only the head of the file is read, once an image. EXIF turns are not applied: boxes are drawn on the pixels as they
    are stored.
    """
    known: dict[str, tuple[int, int] | None] = {}

    def look(name: str) -> tuple[int, int] | None:
        if name not in known:
            try:
                with Image.open(folder / name) as image:
                    known[name] = image.size
            except (OSError, ValueError, Image.DecompressionBombError):
                known[name] = None
        return known[name]

    return look
