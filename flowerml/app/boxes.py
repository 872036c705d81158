"""Two boxes by four clicks on a picture: the corners of the subject's, then of the object's."""

from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image, ImageDraw

from flowerml.data.relations.records import Box

SIDES = ("subject", "object")
COLOURS = {"subject": (222, 60, 75), "object": (40, 120, 220)}  # told apart by people who see no red, too
_SHOWN_SIDE = 1280  # pixels: a larger picture is shown reduced


@dataclass(frozen=True)
class Corners:
    """A picture's file and size (width, height), upright, in pixels, and the clicks so far in pixels of it."""

    path: Path
    size: tuple[int, int]
    clicks: tuple[tuple[float, float], ...] = ()

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The boxes whose two corners were clicked."""
        pairs = zip(self.clicks[::2], self.clicks[1::2], strict=False)
        return tuple(
            Box(min(first[0], second[0]), min(first[1], second[1]), max(first[0], second[0]), max(first[1], second[1]))
            for first, second in pairs
        )

    @property
    def scale(self) -> float:
        """Pixels of the picture for one that is shown; 1 or more."""
        return max(1.0, max(self.size) / _SHOWN_SIDE)

    def clicked(self, x: float, y: float) -> "Corners":
        """With one more corner, in pixels of what is shown; behind two boxes it is the first of new ones.

        Raises:
            ValueError: the box would be empty.
        """
        width, height = self.size
        point = (min(max(x * self.scale, 0.0), width), min(max(y * self.scale, 0.0), height))
        before = () if len(self.clicks) == 4 else self.clicks
        grown = replace(self, clicks=(*before, point))
        if len(grown.clicks) % 2 == 0 and min(grown.boxes[-1].width, grown.boxes[-1].height) < 1:
            raise ValueError("the two corners of a box must differ in both directions: click another second corner")
        return grown

    def swapped(self) -> "Corners":
        """With subject and object exchanged, once both have their boxes."""
        return replace(self, clicks=self.clicks[2:] + self.clicks[:2]) if len(self.clicks) == 4 else self

    @property
    def next_step(self) -> str:
        """What to click next, in words."""
        if len(self.clicks) == 4:
            return "Click again to draw new boxes."
        corner = "the first corner" if len(self.clicks) % 2 == 0 else "the opposite corner"
        side = SIDES[len(self.clicks) // 2]
        return f"Click {corner} of the {side}."


def draw_corners(image: Image.Image, corners: Corners) -> Image.Image:
    """The picture as it is shown, with the boxes and a lone corner drawn on it; `image` is not changed."""
    scale = corners.scale
    shown = image.resize((max(1, round(image.width / scale)), max(1, round(image.height / scale))))
    brush = ImageDraw.Draw(shown)
    line = max(2, round(max(shown.size) / 200))
    for side, box in zip(SIDES, corners.boxes, strict=False):
        edges = [edge / scale for edge in (box.x0, box.y0, box.x1, box.y1)]
        brush.rectangle(edges, outline=COLOURS[side], width=line)
    if len(corners.clicks) % 2:
        x, y = (value / scale for value in corners.clicks[-1])
        brush.ellipse((x - 2 * line, y - 2 * line, x + 2 * line, y + 2 * line), fill=COLOURS[SIDES[len(corners.boxes)]])
    return shown
