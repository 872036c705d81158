"""Decode one picture safely: allowed formats, a pixel limit, EXIF orientation, every mode to RGB the same way."""

import io
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from flowerml.errors import UserError

# Pillow's JPEG door also takes MPO, what phones and cameras write into .jpg files with more than one picture inside;
# the first one counts.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
_HEIF = "HEIF"  # as pillow-heif calls HEIC and its kin
PIXEL_LIMIT = 89_478_485  # Pillow's own line between a picture and a decompression bomb: 256 MiB of RGB
_PART_PIXELS = 2**21  # of what is converted at a time
_WIDE = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
_ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# ISO/IEC 23008-12: the four letters behind `ftyp`.
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_METADATA = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")  # where Pillow looks for an orientation
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_DEFLATE_RATIO = 1032  # at most (zlib's technical notes, "maximum compression factor")
_TEXT_LIMIT = 2**20  # bytes of a text or profile in a PNG, unpacked: what Pillow reads


class BadImage(UserError):
    """A file that can't be used as a picture; the message is the reason, without the path."""


def decode(source: bytes | Image.Image, *, upright: bool = True) -> Image.Image:
    """Turn a file's bytes into an RGB picture, upright, first frame, transparency on white.

    With `upright` False it stays as the pixels are stored: where boxes were drawn on them. Metadata is not needed:
    where it keeps Pillow from reading a PNG or JPEG (texts of many megabytes, a broken profile), it is left out.

    An open Pillow image is converted the same way, and not changed. One of mode I that was made in memory has 8 bits
    where no pixel is above 255, else 16; one of mode F has fractions where none is above 1, else 8 bits.

    Raises:
        BadImage: not a picture of an allowed format, too large, truncated, or of a kind that has no fixed meaning as
            RGB.
    """
    try:
        if isinstance(source, Image.Image):
            return _to_rgb(_with_fixed_range(source), upright=upright)
        if not source:
            raise BadImage("the file is empty")
        return _decode_file(source, upright=upright)
    except (BadImage, MemoryError):  # a machine that is out of memory says nothing about the file
        raise
    except Image.DecompressionBombError:
        raise BadImage(_too_large("the picture")) from None
    except Image.UnidentifiedImageError:
        raise BadImage(f"not a picture in {', '.join(FORMATS)}{_looks_like(source)}") from None
    except Exception as error:  # a damaged file may raise anything in a decoder; whatever it is, the file can't be used
        raise BadImage(f"damaged: {str(error) or type(error).__name__}") from error


def _decode_file(data: bytes, *, upright: bool) -> Image.Image:
    try:
        return _open_and_convert(data, upright=upright)
    except (BadImage, MemoryError, Image.DecompressionBombError):
        raise
    except Exception:
        try:
            plain = without_metadata(data)
            if plain != data:
                return _open_and_convert(plain, upright=upright)
        except (struct.error, IndexError, OSError, SyntaxError, ValueError, TypeError):
            pass  # the first error says what is wrong
        raise


def _open_and_convert(data: bytes, *, upright: bool) -> Image.Image:
    formats = (*FORMATS, _HEIF) if is_heif(data) and can_read_heif() else FORMATS
    with Image.open(io.BytesIO(data), formats=formats) as image:
        width, height = image.size
        # A pixel of a PNG has one bit or more. Without this a file of a few bytes takes the memory of a huge picture.
        if image.format == "PNG" and len(data) * _DEFLATE_RATIO * 8 < width * height <= PIXEL_LIMIT:
            raise BadImage(f"damaged: {len(data):,} bytes are too few for a PNG of {width}x{height}")
        return _to_rgb(image, upright=upright)


def is_heif(head: bytes) -> bool:
    """Whether a file that begins so is HEIC, what phones of Apple take, or another kind of HEIF; AVIF is not."""
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS


def is_avif(head: bytes) -> bool:
    """Whether a file that begins so is AVIF."""
    return head[4:8] == b"ftyp" and head[8:12] in _AVIF_BRANDS


@cache
def can_read_heif() -> bool:
    """Whether pillow-heif is installed, an optional package; Pillow then opens HEIC too."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener(thumbnails=False)
    return True


def without_metadata(data: bytes) -> bytes:
    """A PNG or JPEG file without what is not needed for its pixels and orientation; other files unchanged.

    Raises:
        struct.error, IndexError: the file is cut off.
    """
    if data.startswith(_PNG):
        return _PNG + b"".join(chunk for chunk in _png_chunks(data) if _is_needed(chunk))
    if data.startswith(_JPEG):
        return _JPEG + b"".join(_jpeg_segments(data))
    return data


def _png_chunks(data: bytes) -> Iterator[bytes]:
    """The chunks of a PNG, each with its length, kind and checksum."""
    at = len(_PNG)
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield data[at : at + length + 12]
        at += length + 12


def _is_needed(chunk: bytes) -> bool:
    """Whether a PNG's chunk holds pixels or transparency, or may hold the orientation and can be read."""
    kind, body = chunk[4:8], chunk[8:-4]
    if kind[:1].isupper() or kind == b"tRNS":
        return True
    if chunk[-4:] != struct.pack(">I", zlib.crc32(kind + body)):
        return False
    if kind == b"zTXt":
        return _unpacks(body.partition(b"\0")[2][1:])
    if kind == b"iTXt":
        _, _, rest = body.partition(b"\0")
        packed = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
        return _unpacks(packed) if rest[:1] == b"\1" else len(packed) <= _TEXT_LIMIT
    return kind == b"eXIf" or (kind == b"tEXt" and len(body) <= _TEXT_LIMIT)


def _unpacks(packed: bytes) -> bool:
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(packed, _TEXT_LIMIT)
    except zlib.error:
        return False
    return unpacker.eof


def _jpeg_segments(data: bytes) -> Iterator[bytes]:
    """What follows a JPEG's first marker, without its comments and application segments but JFIF, EXIF and Adobe's.

    Those have the density, the orientation, and whether the colours are inverted.
    """
    at = len(_JPEG)
    while data[at] == 0xFF and data[at + 1] != 0xDA:  # start of scan: pixels from here on
        if data[at + 1] == 0xFF:  # a fill byte
            at += 1
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        marker, body = data[at + 1], data[at + 4 : at + 2 + length]
        is_metadata = 0xE0 <= marker <= 0xEF or marker == 0xFE
        if not is_metadata or marker in (0xE0, 0xEE) or (marker == 0xE1 and body.startswith(b"Exif\0\0")):
            yield data[at : at + 2 + length]
        at += 2 + length
    yield data[at:]


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
    clear = image.info.get("transparency")
    if image.mode == "RGB" and clear is None:
        return turn_upright(image) if upright else image
    if image.mode == "F":
        raise BadImage("floating-point pixels have no fixed range: save it with 8 or 16 bits")
    # In parts: what lies between its pixels and the result would be 2 GB for a picture at the limit.
    columns = min(width, _PART_PIXELS)
    rows = min(height, max(1, _PART_PIXELS // max(1, columns)))
    if (columns, rows) == image.size:
        rgb = _convert(image, clear)
    else:
        rgb = Image.new("RGB", image.size)
        for top, left in product(range(0, height, rows), range(0, width, columns)):
            part = image.crop((left, top, min(left + columns, width), min(top + rows, height)))
            rgb.paste(_convert(part, clear), (left, top))
    turn = _turn_of(image) if upright else None
    return rgb if turn is None else rgb.transpose(turn)


def _convert(image: Image.Image, clear: object) -> Image.Image:
    """A picture that is not plain RGB, as RGB; `clear` is the value or palette entry that is transparent."""
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


def turn_upright(image: Image.Image) -> Image.Image:
    """A copy, turned by its EXIF orientation; as it is where there is none, or none that can be read."""
    turn = _turn_of(image)
    if turn is None:
        return image.copy()
    turned = image.transpose(turn)
    for name in _METADATA:  # it would be turned again
        turned.info.pop(name, None)
    return turned


def _turn_of(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # the tags of a broken block may raise anything; the pixels are not concerned
        return None


def _with_fixed_range(image: Image.Image) -> Image.Image:
    """An image made in memory in a mode without a fixed range, as 8-bit grey where its pixels fit; others as they are.

    From a file, mode I holds 16 bits, and mode F is refused.
    """
    if image.mode not in ("I", "F") or image.format is not None:
        return image
    pixels = np.asarray(image)
    low, high = float(pixels.min(initial=0)), float(pixels.max(initial=0))
    if not (low >= 0 and high <= 255):  # also not a number
        return image
    if image.mode == "F":
        pixels = np.rint(pixels * 255 if high <= 1 else pixels)
    return Image.fromarray(pixels.astype(np.uint8))


def _too_large(what: str) -> str:
    return f"{what} is over the limit of {PIXEL_LIMIT:,} pixels"


def _looks_like(source: bytes | Image.Image) -> str:
    head = b"" if isinstance(source, Image.Image) else source[:512].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if is_heif(head):  # phones and servers also put HEIC into files called .jpg
        return " (it looks like HEIC: install pillow-heif, or convert it to JPEG or PNG)"
    return " (it looks like a web page)" if head.startswith((b"<!doctype", b"<html", b"<?xml")) else ""
