"""Small generated pictures for the tests of data."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

QUARTERS = ((250, 30, 20), (20, 220, 40), (30, 60, 240), (230, 210, 90))


def encode(image, kind, **options):
    """The bytes of a file of this kind ("JPEG", "PNG", ...)."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def quarters(width=48, height=32):
    """RGB pixels (height, width, 3) of four flat colours, no two quarters alike: every flip and turn shows."""
    pixels = np.zeros((height, width, 3), np.uint8)
    half_y, half_x = height // 2, width // 2
    for place, colour in zip(((0, 0), (0, 1), (1, 0), (1, 1)), QUARTERS, strict=True):
        pixels[place[0] * half_y : (place[0] + 1) * half_y, place[1] * half_x : (place[1] + 1) * half_x] = colour
    return pixels


def scene(seed, width=48, height=40):
    """A smooth RGB picture of colour blobs, which survive JPEG and resizing; unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def put(path: Path, data: bytes):
    """Write the bytes, folders included; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def put_scene(path: Path, seed, quality=90, **size):
    """A JPEG of `scene(seed)`."""
    return put(path, encode(scene(seed, **size), "JPEG", quality=quality))


def put_classes(root: Path, counts, names="{number:02d}.jpg"):
    """`{"rose": 3}` -> root/rose/00.jpg and so on; every picture differs, keyed by (place, number)."""
    for place, (folder, count) in enumerate(counts.items()):
        for number in range(count):
            put_scene(root / folder / names.format(number=number), 1000 * place + number)
    return root
