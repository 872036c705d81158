"""A few pictures with a caption each, as one picture."""

from collections.abc import Sequence
from functools import cache

from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from flowerml.reporting.figures.drawing import FONT, INK, shorten

SIDE = 112  # pixels of a picture's longer side
COLUMNS = 3
_LINE, _GAP = 12, 4  # pixels
_CHARACTERS = 18  # of a caption, at this size


def image_grid(pictures: Sequence[tuple[Image.Image, str]]) -> Image.Image:
    """Pictures and their captions (of lines) in rows of three, each in a square of 112 pixels; larger ones are reduced.

    Raises ValueError without a picture.
    """
    if not pictures:
        raise ValueError("a grid of no pictures")
    lines = max(len(caption.splitlines()) for _, caption in pictures)
    columns, rows = min(COLUMNS, len(pictures)), -(-len(pictures) // COLUMNS)
    width, height = SIDE + _GAP, SIDE + lines * _LINE + _GAP
    grid = Image.new("RGB", (columns * width + _GAP, rows * height + _GAP), "white")
    draw = ImageDraw.Draw(grid)
    for place, (picture, caption) in enumerate(pictures):
        left, top = _GAP + place % COLUMNS * width, _GAP + place // COLUMNS * height
        small = picture.convert("RGB")
        small.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
        grid.paste(small, (left + (SIDE - small.width) // 2, top + (SIDE - small.height) // 2))
        for number, line in enumerate(caption.splitlines()):
            draw.text((left, top + SIDE + number * _LINE), shorten(line, _CHARACTERS), INK, font=_font())
    return grid


@cache
def _font() -> ImageFont.FreeTypeFont:
    """The font of the figures, which comes with matplotlib."""
    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/{FONT.replace(' ', '')}.ttf", 10)
