"""Scans made of file names, without files."""

import hashlib
from pathlib import Path

from flowerml.data.scan import Picture, Scan


def fake(key):
    return Picture(key, key.split("/")[0], key, hashlib.sha256(key.encode()).hexdigest(), 1, 1, 0)


def scanned_of(keys):
    pictures = tuple(fake(key) for key in sorted(keys))
    return Scan(Path("anywhere"), tuple(sorted({picture.label for picture in pictures})), pictures, (), ())


def of_groups(*groups):
    """A scan and its group numbers from lists of keys."""
    number_of = {key: number for number, group in enumerate(groups) for key in group}
    scanned = scanned_of(number_of)
    return scanned, [number_of[picture.key] for picture in scanned.pictures]


def singles(**counts):
    return of_groups(*([f"{name}/{number:03d}.jpg"] for name, count in counts.items() for number in range(count)))
