"""What the cache holds of a picture: its reduced form for training, its view for evaluation."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

from flowerml.data.decode import decode
from flowerml.data.location import PictureLocation, read_location
from flowerml.data.scan import Picture
from flowerml.data.transforms import CROP_SCALE, EvaluationTransform, InputDescription

_FORMAT = "flowerml-image-1"  # to be raised when decoding or reducing changes


@dataclass(frozen=True)
class Entry:
    """One picture of the cache: key (hex) of content and processing, shape in pixels, where it lies and how it is made.

    `make` gets the decoded picture. `sha256` is that of the file's content at the scan.
    """

    key: str
    location: PictureLocation
    sha256: str
    height: int
    width: int
    make: Callable[[Image.Image], Image.Image]

    @property
    def nbytes(self) -> int:
        """Bytes of its pixels, (height, width, 3) uint8."""
        return 3 * self.height * self.width

    def read(self) -> tuple[np.ndarray, bool]:
        """The pixels (height, width, 3) from the file, and whether it is what was scanned. Raises BadImage."""
        data = read_location(self.location)
        pixels = np.asarray(self.make(decode(data)))
        unchanged = pixels.shape == (self.height, self.width, 3) and hashlib.sha256(data).hexdigest() == self.sha256
        return pixels, unchanged


def training_entry(
    root: Path, picture: Picture, description: InputDescription, crop_scale: float = CROP_SCALE
) -> Entry:
    """The entry for training, with crops of that share of the area or more, on a picture of the scan of `root`."""
    edge = training_edge(description, crop_scale)
    width, height = reduced_size((picture.width, picture.height), edge)
    return _entry(root, picture, f"short edge {edge}", (height, width), partial(reduce_image, edge=edge))


def evaluation_entry(root: Path, picture: Picture, description: InputDescription) -> Entry:
    """The entry for the evaluation view of a picture of the scan of `root`."""
    size = description.size
    kind = f"evaluation {size} {description.crop_pct!r} {description.interpolation}"
    return _entry(root, picture, kind, (size, size), EvaluationTransform(description).crop)


def training_edge(description: InputDescription, crop_scale: float = CROP_SCALE) -> int:
    """The short edge from which the smallest crop of a square picture, of average aspect, is not enlarged [px]."""
    return math.ceil(description.size / math.sqrt(crop_scale))


def reduced_size(size: tuple[int, int], edge: int) -> tuple[int, int]:
    """Width and height with the short one at `edge`; unchanged where it is no longer than that."""
    short = min(size)
    if short <= edge:
        return size
    width, height = (round(side * edge / short) for side in size)
    return width, height


def reduce_image(image: Image.Image, edge: int) -> Image.Image:
    """The picture in its `reduced_size`, by a bicubic filter (after means of whole blocks where it is far larger)."""
    size = reduced_size(image.size, edge)
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def _entry(
    root: Path, picture: Picture, kind: str, shape: tuple[int, int], make: Callable[[Image.Image], Image.Image]
) -> Entry:
    text = f"{_FORMAT}\tpillow {version('pillow')}\t{picture.sha256}\t{kind}"
    key = hashlib.sha256(text.encode()).hexdigest()
    return Entry(key, picture.locate(root), picture.sha256, *shape, make)
