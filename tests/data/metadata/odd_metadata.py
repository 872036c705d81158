"""Sound pictures of 8x8 pixels with random texts, colour profiles and EXIF blocks."""

import random
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from tests.data.encoded_images import ORIENTATION
from tests.data.pictures import encode


class Variant(NamedTuple):
    """A file, the same without metadata, and the orientation that it states (1: none that is valid)."""

    data: bytes
    plain: bytes
    orientation: int


def png_chunk(kind: bytes, body: bytes, *, is_whole: bool = True) -> bytes:
    """A chunk; with a wrong checksum where it is not whole."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) ^ (not is_whole))


def large_text_png(plain: bytes) -> bytes:
    """A PNG with 3 MB of text, packed."""
    return plain[:33] + png_chunk(b"zTXt", b"prompt\0\0" + zlib.compress(b"x" * (3 << 20), 1)) + plain[33:]


def variants(count: int, seed: int) -> Iterator[Variant]:
    """`count` files, PNG and JPEG in turn."""
    draw = random.Random(seed)
    rng = np.random.default_rng(seed)
    picture = Image.fromarray(rng.integers(0, 256, (8, 6, 3), dtype=np.uint8))
    png, jpeg = encode(picture, "PNG"), encode(picture, "JPEG")
    large = [zlib.compress(b"x" * (3 << 20), 1), zlib.compress(b"y" * (2 << 20), 9)]
    for number in range(count):
        exif, orientation = _exif(draw)
        if number % 2:
            segments = [_segment(0xE1, b"Exif\0\0" + exif)] if exif else []
            segments += [_jpeg_metadata(draw) for _ in range(draw.randrange(4))]
            yield Variant(jpeg[:2] + b"".join(segments) + jpeg[2:], jpeg, orientation)
        else:
            chunks = [png_chunk(b"eXIf", exif)] if exif else []
            chunks += [_png_metadata(draw, large) for _ in range(draw.randrange(4))]
            yield Variant(png[:33] + b"".join(chunks) + png[33:], png, orientation)


def _exif(draw: random.Random) -> tuple[bytes, int]:
    """A block, and the orientation that it states."""
    kind = draw.choice(["none", "valid", "odd tags", "garbage", "cut off", "no number"])
    if kind == "none":
        return b"", 1
    if kind == "garbage":
        return draw.randbytes(draw.randrange(1, 40)), 1
    if kind == "cut off":
        return b"MM\0*\0\0\0\x08\0\x05\x01\x12", 1
    if kind == "no number":  # the orientation as text
        return b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHI4s", ORIENTATION, 2, 2, b"6\0\0\0") + b"\0\0\0\0", 1
    exif = Image.Exif()
    number = draw.randrange(0, 11)
    exif[ORIENTATION] = number
    if kind == "odd tags":
        exif[0x010E] = draw.choice(["", "é" * 50, "\0", "x" * 3000])
        exif[draw.randrange(0x9000, 0xFFFF)] = draw.randrange(2**16)
    return exif.tobytes().removeprefix(b"Exif\0\0"), number if 1 <= number <= 8 else 1


def _png_metadata(draw: random.Random, large: list[bytes]) -> bytes:
    packed = draw.choice([*large, zlib.compress(b"small"), b"not packed at all", b""])
    name = draw.choice([b"prompt", b"Comment", b"", b"k" * 90])
    kinds = {
        b"zTXt": name + b"\0\0" + packed,
        b"iTXt": name + b"\0\1\0\0\0" + packed,
        b"iCCP": name + b"\0\0" + packed,
        b"tEXt": name + b"\0" + b"z" * draw.choice([0, 5, 2 << 20]),
        b"pHYs": draw.randbytes(draw.choice([0, 3, 9])),
        b"gAMA": draw.randbytes(draw.choice([0, 4])),
        b"cHRM": draw.randbytes(draw.choice([5, 32])),
        b"sRGB": draw.randbytes(draw.choice([0, 1])),
        b"acTL": draw.randbytes(draw.choice([0, 8])),
        b"prVt": draw.randbytes(7),
    }
    kind = draw.choice(list(kinds))
    return png_chunk(kind, kinds[kind], is_whole=draw.random() > 0.1)


def _jpeg_metadata(draw: random.Random) -> bytes:
    bodies = [
        b"ICC_PROFILE\0" + bytes([draw.randrange(4), draw.randrange(4)]) + draw.randbytes(20),
        b"Photoshop 3.0\0" + draw.randbytes(draw.randrange(30)),
        b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta" + draw.randbytes(20),
        b"MPF\0" + draw.randbytes(draw.randrange(20)),
        draw.randbytes(draw.randrange(60)),
    ]
    return _segment(draw.choice([0xE2, 0xED, 0xE1, 0xE4, 0xFE]), draw.choice(bodies))


def _segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body
