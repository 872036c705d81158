"""Image sizes read from the files, for annotations that do not have them."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from PIL import Image

from flowerml.data.decode import BadImage, read_image
from flowerml.data.folders.finder import PictureFinder


def image_size_reader(folder: Path) -> Callable[[str], tuple[int, int] | None]:
    """A function from an image's name to (width, height) in pixels of its file under `folder`, None if unreadable.

    Only the file's header is read, once per image. EXIF orientation is not applied: boxes are drawn on the pixels as
    they are stored.
    """
    finder = PictureFinder(folder)
    sizes: dict[str, tuple[int, int] | None] = {}

    def read_size(name: str) -> tuple[int, int] | None:
        if name not in sizes:
            try:
                with Image.open(finder.path(name)) as image:
                    sizes[name] = image.size
            except (OSError, ValueError, BadImage, Image.DecompressionBombError):
                with suppress(BadImage):  # metadata that Pillow does not take
                    return sizes.setdefault(name, read_image(finder.path(name), upright=False).size)
                sizes[name] = None
        return sizes[name]

    return read_size
