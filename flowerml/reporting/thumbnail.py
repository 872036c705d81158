"""Thumbnails of pictures as JPEG files, to go inside a page."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from flowerml.data.decode import turn_upright

SIDE = 224  # pixels of a thumbnail's longer edge, at most
Thumbnail = Callable[[str], bytes | None]  # the JPEG file of a picture by its key, None where there is none


def thumbnail_jpeg(image: Image.Image, side: int = SIDE) -> bytes:
    """Encode a picture as a JPEG file that fits a square of `side` pixels; it is never enlarged.

    It is rotated by its EXIF orientation, and transparency becomes white. No metadata (location, camera, comment) is
    copied, and `image` is not modified. Raises ValueError for a side below 1, and OSError for a picture that can't be
    decoded.
    """
    if side < 1:
        raise ValueError(f"a thumbnail of {side} pixels")
    upright = turn_upright(image)
    if upright.mode[0] in "IF":  # one deep channel: stretch its own range, a plain conversion would clip it
        deep = np.nan_to_num(np.asarray(upright, dtype=np.float64))
        low, high = float(deep.min()), float(deep.max())
        upright = Image.fromarray(((deep - low) * (255.0 / max(high - low, 1e-9))).astype(np.uint8))
    # Opaque pictures, which most are, without an alpha channel: that is resized with a premultiplication, and slower.
    layers = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    layers.thumbnail((side, side), Image.Resampling.LANCZOS)
    flat = layers
    flat.info.clear()
    if layers.mode == "RGBA":
        flat = Image.new("RGB", layers.size, "white")
        flat.paste(layers, mask=layers.getchannel("A"))
    buffer = io.BytesIO()
    flat.save(buffer, format="JPEG", quality=82, optimize=True)
    return buffer.getvalue()
