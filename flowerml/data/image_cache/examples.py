"""Examples that are read through the cache."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flowerml.data.image_cache.entry import Entry
from flowerml.data.image_cache.store import Store
from flowerml.data.loader import Example
from flowerml.data.location import Part

Convert = Callable[[np.ndarray], Any]  # pixels (height, width, 3) to what the transform takes


def to_image(pixels: np.ndarray) -> Image.Image:
    """Pixels as Pillow's image, for transforms that take one."""
    return Image.fromarray(pixels)


def as_array(pixels: np.ndarray) -> np.ndarray:
    """Pixels as they are."""
    return pixels


def cached_examples(
    examples: Sequence[Example], entries: Sequence[Entry], store: Store | None, convert: Convert, first: int = 0
) -> list[Example]:
    """The examples with their picture's cached form in place of the picture.

    Entry i belongs to example i; its index in the store is `first` + i. Without a store the form is made at each read.
    """
    return [
        replace(
            example,
            read=partial(_read, entry, store, first + index, convert),
            needs=None if isinstance(entry.location, Path) else partial(_needed, entry.location, store, first + index),
        )
        for index, (example, entry) in enumerate(zip(examples, entries, strict=True))
    ]


def _needed(part: Part, store: Store | None, index: int) -> Part | None:
    return None if store is not None and store.has(index) else part


def _read(entry: Entry, store: Store | None, index: int, convert: Convert) -> Any:  # noqa: ANN401
    """From the store, else from the file; stored unless the file has changed since the scan. Raises BadImage."""
    pixels = store.get(index) if store is not None else None
    if pixels is None:
        pixels, unchanged = entry.read()
        if store is not None and unchanged:
            store.put(index, pixels)
    return convert(pixels)
