"""Encoded images that Pillow does not write, and helpers that decode and compare."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from flowerml.data.decode import BadImage, decode
from tests.data.pictures import encode

ORIENTATION = 0x0112


def pixels_of(data):
    picture = decode(data)
    assert picture.mode == "RGB"
    return np.asarray(picture)


def reason_for(data):
    with pytest.raises(BadImage) as caught:
        decode(data)
    reason = str(caught.value)
    assert reason.strip()
    assert "\n" not in reason
    return reason


def png_header(width, height, bits=8, colour=2):
    """A PNG of the right form that promises this size and brings no pixels."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    size = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def big_endian_tiff(values, orientation=1):
    """A grey 16-bit TIFF in Motorola byte order, uncompressed."""
    height, width = values.shape
    body = values.astype(">u2").tobytes()
    short, long = 3, 4
    tags = [
        (256, short, width),
        (257, short, height),
        (258, short, 16),
        (259, short, 1),
        (262, short, 1),
        (273, long, 0),
        (274, short, orientation),
        (277, short, 1),
        (278, short, height),
        (279, long, len(body)),
    ]
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack(">HHI", tag, kind, 1)
        + (struct.pack(">HH", value, 0) if kind == short else struct.pack(">I", value or start))
        for tag, kind, value in tags
    )
    return b"MM\0*" + struct.pack(">I", 8) + struct.pack(">H", len(tags)) + entries + struct.pack(">I", 0) + body


# How a camera that was held so stores the upright picture, by the EXIF standard; not by Pillow, which is under test.
STORED = {
    1: lambda upright: upright,
    2: np.fliplr,
    3: lambda upright: np.rot90(upright, 2),
    4: np.flipud,
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: np.rot90(upright, 2).swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


def with_orientation(upright, number, kind, **options):
    exif = Image.Exif()
    exif[ORIENTATION] = number
    return encode(Image.fromarray(np.ascontiguousarray(STORED[number](upright))), kind, exif=exif, **options)
