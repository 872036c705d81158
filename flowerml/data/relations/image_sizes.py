"""The sizes of the pictures themselves: boxes that were drawn on another size would cut other pixels without an error."""

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from flowerml.data.relations.records import Pair


def size_on_disk(folder: Path) -> Callable[[str], tuple[int, int] | None]:
    """A function from an image's name to the width and height in pixels of its file under `folder`; None where no file can be read.

    Only the head of the file is read, once an image. EXIF turns are not applied: boxes are drawn on the pixels as they are stored.
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


def size_problems(pairs: Sequence[Pair], folder: Path) -> list[str]:
    """A line for each image of `pairs` that is not under `folder`, can't be read, or is of another size than the annotations say."""
    look, lines = size_on_disk(folder), []
    for image, (width, height) in {pair.image: (pair.width, pair.height) for pair in pairs}.items():
        found = look(image)
        if found is None:
            lines.append(f"{image}: no picture that can be read")
        elif found != (width, height):
            lines.append(f"{image}: {found[0]}x{found[1]} pixels, annotated as {width}x{height}")
    return lines
