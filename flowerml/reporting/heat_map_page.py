"""The heat map of a picture over the picture, and a page of them."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from PIL import Image

from flowerml.reporting.html import render_page
from flowerml.reporting.thumbnail import thumbnail_jpeg

_SMALLEST_SIDE = 320  # pixels of an overlay
_COLOURS = "plasma"  # dark blue to yellow, readable with colour-vision deficiencies


@dataclass(frozen=True)
class ExplainedPicture:
    """A picture's name, what the model saw of it, the overlay, and its likeliest classes with probabilities (0..1)."""

    name: str
    view: Image.Image
    overlay: Image.Image
    likeliest: tuple[tuple[str, float], ...]

    @property
    def view_jpeg(self) -> bytes:
        """The view as a small JPEG file."""
        return thumbnail_jpeg(self.view, 320)

    @property
    def overlay_jpeg(self) -> bytes:
        """The overlay as a small JPEG file."""
        return thumbnail_jpeg(self.overlay, 320)


def overlay_heat_map(view: Image.Image, heat: np.ndarray, side: int | None = None) -> Image.Image:
    """Lay a map (S, S) in 0..1 over a picture of (S, S): grey where it is 0, coloured where it is high.

    The overlay is of `side` x `side` pixels; by default of the least multiple of S that is 320 or more.
    """
    side = side or view.width * -(-_SMALLEST_SIDE // view.width)
    size = (side, side)
    fine = Image.fromarray(np.rint(255 * heat).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    share = np.asarray(fine, dtype=np.float32)[..., None] / 255
    grey = np.asarray(view.resize(size, Image.Resampling.BICUBIC).convert("L").convert("RGB"), dtype=np.float32)
    colour = 255 * colormaps[_COLOURS](share[..., 0])[..., :3]
    opacity = 0.65 * np.sqrt(share)
    return Image.fromarray(np.rint((1 - opacity) * grey + opacity * colour).astype(np.uint8))


def png_file(image: Image.Image) -> bytes:
    """A picture as a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def heat_map_page(pictures: Sequence[ExplainedPicture], *, title: str) -> str:
    """Render the page: each picture beside its overlay, with the likeliest classes. Write it as UTF-8."""
    return render_page("heat_map.html.j2", title=title, pictures=pictures)
