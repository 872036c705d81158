"""From whatever holds a picture to the square of pixels that a model looks at."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from PIL import Image

from flowerml.data.decode import BadImage, decode, read_bytes
from flowerml.prediction.standalone.messages import single_line

Picture: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | Image.Image
Pictures: TypeAlias = Picture | list[Picture] | tuple[Picture, ...]


@dataclass(frozen=True)
class Input:
    """A model's input: a square of `size` pixels, `mean` and `std` per channel (RGB, 0..1).

    `crop_pct` is the share of the resized short edge that the centre crop keeps.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_pct: float


def read_picture(picture: Picture, *, upright: bool = True) -> Image.Image:
    """Decode a picture: RGB, transparency on white, 16 bit scaled to 8; the first frame of several.

    It is turned by its EXIF orientation; with `upright` False it stays as its pixels are stored, where boxes are drawn.
    A file object is read from its beginning where it is seekable; a Pillow image is not changed.

    Raises:
        BadImage: the reason, without the path.
        TypeError: not a path, a binary file object, bytes or a Pillow image.
    """
    if isinstance(picture, Image.Image):
        return decode(picture, upright=upright)
    return decode(_read_source(picture), upright=upright)


def read_named_picture(picture: Picture, name: str) -> Image.Image:
    """`read_picture`. Raises BadImage on one line, with `name` before the reason where there is one."""
    try:
        return read_picture(picture)
    except BadImage as error:
        raise BadImage(single_line(f"{name}: {error}" if name else str(error))) from error


def _read_source(picture: str | os.PathLike[str] | bytes | BinaryIO) -> bytes:
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, (str, os.PathLike)):
        return read_bytes(Path(picture))
    if not hasattr(picture, "read"):
        kinds = "a path, a binary file object, bytes, a Pillow image or a list of these"
        raise TypeError(f"a picture is {kinds}, not {type(picture).__name__}")
    try:
        if picture.seekable():
            picture.seek(0)
        data = picture.read()
    except OSError as error:
        raise BadImage(error.strerror or str(error)) from error
    if not isinstance(data, bytes):
        raise TypeError('a picture\'s file has to be opened with mode "rb"')
    return data


def picture_name(picture: object, index: int) -> str:
    """What messages call a picture: its path where it has one, else its number in the list (`index` counts from 0)."""
    name = (
        picture
        if isinstance(picture, (str, os.PathLike))
        else getattr(picture, "name", None) or getattr(picture, "filename", None)
    )
    return str(name) if isinstance(name, (str, os.PathLike)) else f"picture {index + 1}"


def resize_and_crop(image: Image.Image, description: Input) -> Image.Image:
    """Resize the short edge to floor(size / crop_pct) and crop the centre, size x size pixels.

    The pixels are those of torchvision's `resize` and `center_crop`.
    """
    short, long = sorted(image.size)
    if long > 64 * short:  # only the middle of an extreme stripe: resizing all of it would fill the memory
        image = _crop_centre(image, min(image.width, 64 * short), min(image.height, 64 * short))
    edge, short = int(description.size / description.crop_pct), min(image.size)
    width, height = (edge if side == short else int(edge * side / short) for side in image.size)
    image = image.resize((width, height), Image.Resampling[description.interpolation.upper()])
    return _crop_centre(image, description.size, description.size)


def _crop_centre(image: Image.Image, width: int, height: int) -> Image.Image:
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
