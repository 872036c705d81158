"""Decode one picture safely: allowed formats, a pixel limit, EXIF orientation, every mode to RGB the same way."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from flowerml.errors import UserError

# Pillow's JPEG door also takes MPO, what phones and cameras write into .jpg files with more than one picture inside;
# the first one counts.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
PIXEL_LIMIT = 89_478_485  # Pillow's own line between a picture and a decompression bomb: 256 MiB of RGB
_WIDE = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})


class BadImage(UserError):
    """A file that can't be used as a picture; the message is the reason, without the path."""


def decode(source: bytes | Image.Image, *, upright: bool = True) -> Image.Image:
    """Turn a file's bytes into an RGB picture, upright, first frame, transparency on white.

    With `upright` False it stays as the pixels are stored: where boxes were drawn on them. An open Pillow image is
    converted the same way, and not changed.

    Raises:
        BadImage: not a picture of an allowed format, too large, truncated, or of a kind that has no fixed meaning as
            RGB.
    """
    try:
        if isinstance(source, Image.Image):
            return _to_rgb(source, upright=upright)
        if not source:
            raise BadImage("the file is empty")
        with Image.open(io.BytesIO(source), formats=FORMATS) as image:
            return _to_rgb(image, upright=upright)
    except (BadImage, MemoryError):  # a machine that is out of memory says nothing about the file
        raise
    except Image.DecompressionBombError:
        raise BadImage(_too_large("the picture")) from None
    except Image.UnidentifiedImageError:
        raise BadImage(f"not a picture in {', '.join(FORMATS)}{_looks_like(source)}") from None
    except Exception as error:  # a damaged file may raise anything in a decoder; whatever it is, the file can't be used
        raise BadImage(f"damaged: {str(error) or type(error).__name__}") from error


def read_image(path: Path, *, upright: bool = True) -> Image.Image:
    """`decode` of a file. Raises BadImage, also where the file can't be read at all."""
    return decode(read_bytes(path), upright=upright)


def read_bytes(path: Path) -> bytes:
    """A picture file's content. Raises BadImage where it can't be read or is no regular file."""
    try:
        if not path.is_file() and path.exists():  # reading a named pipe would block
            raise BadImage("not a regular file")
        return path.read_bytes()
    except OSError as error:
        raise BadImage(error.strerror or str(error)) from error


def _to_rgb(image: Image.Image, *, upright: bool) -> Image.Image:
    """Every mode the same way: 16 bit scaled (Pillow's own conversion clips), transparency laid on white, the rest
    converted.
    """
    width, height = image.size
    if width * height > PIXEL_LIMIT:
        raise BadImage(_too_large(f"{width}x{height}"))
    image.load()
    if upright:
        image = ImageOps.exif_transpose(image)
    clear = image.info.get("transparency")
    if image.mode == "RGB" and clear is None:
        return image
    if image.mode == "F":
        raise BadImage("floating-point pixels have no fixed range: save it with 8 or 16 bits")
    if image.mode in _WIDE:
        wide = np.asarray(image).astype(np.int64)
        if wide.min(initial=0) < 0 or wide.max(initial=0) > 65_535:
            raise BadImage("32-bit pixels have no fixed range: save it with 8 or 16 bits")
        grey = np.where(wide == clear, 255, wide // 257) if isinstance(clear, int) else wide // 257
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or clear is not None:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _too_large(what: str) -> str:
    return f"{what} is over the limit of {PIXEL_LIMIT:,} pixels"


def _looks_like(source: bytes | Image.Image) -> str:
    head = b"" if isinstance(source, Image.Image) else source[:512].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head[4:].startswith(
        (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1", b"ftypavi")
    ):  # phones and servers also put HEIC and AVIF into files called .jpg
        return " (it looks like HEIC or AVIF: convert it to JPEG or PNG)"
    return " (it looks like a web page)" if head.startswith((b"<!doctype", b"<html", b"<?xml")) else ""
