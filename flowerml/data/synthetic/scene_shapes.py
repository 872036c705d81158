"""The things of the generated scenes, drawn with Pillow into a box: furniture, containers, posts, what floats and what
stands about.

Every colour may be anybody's, so a thing is known by its shape. Coordinates in here are shares of the box: (0, 0) is
its upper left corner, (1, 1) its lower right one; every shape reaches all four edges.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw

from flowerml.data.relations.records import Box

Colour = tuple[int, int, int]
COLOURS: tuple[Colour, ...] = (
    *((205, 60, 50), (235, 150, 50), (225, 200, 70), (110, 165, 80), (60, 130, 150), (70, 95, 170)),
    *((140, 90, 160), (200, 120, 150), (130, 95, 65), (90, 90, 95), (190, 185, 175), (225, 222, 210)),
)


@dataclass(frozen=True)
class Pen:
    """A canvas, the box (canvas pixels) that a thing fills, and its two colours."""

    draw: ImageDraw.ImageDraw
    box: Box
    body: Colour
    detail: Colour

    def at(self, *places: tuple[float, float]) -> list[tuple[float, float]]:
        """Shares of the box as canvas pixels."""
        return [(self.box.x0 + x * self.box.width, self.box.y0 + y * self.box.height) for x, y in places]

    def polygon(self, *places: tuple[float, float], colour: Colour | None = None) -> None:
        """A filled outline."""
        self.draw.polygon(self.at(*places), fill=colour or self.body)

    def block(self, x0: float, y0: float, x1: float, y1: float, colour: Colour | None = None) -> None:
        """A filled rectangle."""
        self.polygon((x0, y0), (x1, y0), (x1, y1), (x0, y1), colour=colour)

    def oval(self, x0: float, y0: float, x1: float, y1: float, colour: Colour | None = None) -> None:
        """A filled ellipse."""
        self.draw.ellipse([*self.at((x0, y0), (x1, y1))], fill=colour or self.body)


def darker(colour: Colour, factor: float = 0.65) -> Colour:
    """The colour in shade (below 1) or in light (above)."""
    red, green, blue = (min(255, int(part * factor)) for part in colour)
    return red, green, blue


def _table(pen: Pen) -> None:
    for x, foot in ((0.2, 0.85), (0.74, 0.85), (0.03, 1.0), (0.91, 1.0)):
        pen.block(x, 0.1, x + 0.06, foot, darker(pen.body))
    pen.polygon((0.15, 0), (0.85, 0), (1, 0.22), (0, 0.22))
    pen.block(0, 0.22, 1, 0.29, darker(pen.body, 0.8))


def _stool(pen: Pen) -> None:
    for x in (0.06, 0.47, 0.86):
        pen.polygon((x, 0.1), (x + 0.08, 0.1), (x + 0.08, 1), (x, 1), colour=darker(pen.body))
    pen.oval(0, 0.04, 1, 0.3, darker(pen.body, 0.8))
    pen.oval(0, 0, 1, 0.24)


def _pedestal(pen: Pen) -> None:
    pen.block(0.08, 0.1, 0.92, 1, darker(pen.body, 0.85))
    pen.block(0, 0, 1, 0.14)
    for y in (0.35, 0.6, 0.85):
        pen.block(0.08, y, 0.92, y + 0.03, darker(pen.body))


def _board(pen: Pen) -> None:
    pen.block(0, 0, 1, 1, darker(pen.body, 0.6))
    pen.block(0.03, 0.03, 0.97, 0.97)
    for y in (0.2, 0.4, 0.6, 0.8):
        pen.block(0.08, y, 0.92, y + 0.015, darker(pen.body, 0.9))


def _umbrella(pen: Pen) -> None:
    pen.block(0.475, 0.2, 0.525, 1, darker(pen.detail))
    pen.draw.pieslice([*pen.at((0, 0), (1, 0.8))], 180, 360, fill=pen.body)
    pen.polygon((0.33, 0.4), (0.5, 0), (0.67, 0.4), colour=darker(pen.body, 0.8))


def _crate(pen: Pen) -> None:
    pen.block(0, 0, 1, 1)
    pen.block(0.09, 0.09, 0.91, 0.91, darker(pen.body, 0.3))


def _hoop(pen: Pen) -> None:
    width = max(2, round(0.08 * min(pen.box.width, pen.box.height)))
    pen.draw.ellipse([*pen.at((0, 0), (1, 1))], outline=pen.body, width=width)


def _cage(pen: Pen) -> None:
    for x in np.linspace(0, 0.96, 7):
        pen.block(float(x), 0, float(x) + 0.04, 1, darker(pen.body, 0.8))
    pen.block(0, 0, 1, 0.06)
    pen.block(0, 0.94, 1, 1)


def _cloud(pen: Pen) -> None:
    for x0, y0, x1, y1 in (
        (0, 0.35, 0.45, 1),
        (0.55, 0.35, 1, 1),
        (0.2, 0, 0.65, 0.75),
        (0.45, 0.1, 0.85, 0.8),
        (0.25, 0.45, 0.8, 1),
    ):
        pen.oval(x0, y0, x1, y1)


def _balloon(pen: Pen) -> None:
    pen.block(0.48, 0.7, 0.52, 1, darker(pen.detail))
    pen.oval(0, 0, 1, 0.78)
    pen.oval(0.2, 0.1, 0.4, 0.3, darker(pen.body, 1.3))


def _bird(pen: Pen) -> None:
    pen.polygon((0.3, 0.5), (0, 0), (0.6, 0.45), colour=darker(pen.body, 0.8))
    pen.polygon((0.45, 0.5), (0.8, 0), (0.7, 0.55), colour=darker(pen.body, 0.8))
    pen.oval(0.15, 0.4, 0.85, 1)
    pen.polygon((0.8, 0.6), (1, 0.7), (0.8, 0.8), colour=pen.detail)


def _sign(pen: Pen) -> None:
    pen.block(0.45, 0.3, 0.55, 1, darker(pen.detail))
    pen.polygon((0, 0.05), (0.75, 0.05), (1, 0.22), (0.75, 0.4), (0, 0.4), (0, 0), (0.1, 0))
    pen.block(0.15, 0.2, 0.65, 0.25, pen.detail)


def _flag(pen: Pen) -> None:
    pen.block(0, 0, 0.1, 1, darker(pen.detail))
    pen.polygon((0.1, 0.02), (1, 0.2), (0.1, 0.42))


def _lamp(pen: Pen) -> None:
    pen.block(0.44, 0.2, 0.56, 1, darker(pen.detail))
    pen.block(0.2, 0.94, 0.8, 1, darker(pen.detail))
    pen.oval(0, 0, 1, 0.34)


def _house(pen: Pen) -> None:
    pen.block(0.06, 0.4, 0.94, 1)
    pen.polygon((0, 0.42), (0.5, 0), (1, 0.42), colour=pen.detail)
    pen.block(0.4, 0.62, 0.6, 1, darker(pen.detail, 0.5))


def _bush(pen: Pen) -> None:
    for x0, y0, x1, y1 in ((0, 0.3, 0.5, 1), (0.5, 0.3, 1, 1), (0.25, 0, 0.75, 0.7), (0.2, 0.4, 0.8, 1)):
        pen.oval(x0, y0, x1, y1, darker(pen.body, 0.85 if x0 else 1))
    for x, y in ((0.2, 0.6), (0.5, 0.25), (0.7, 0.7), (0.45, 0.75)):
        pen.oval(x, y, x + 0.09, y + 0.09, pen.detail)


def _stone(pen: Pen) -> None:
    pen.polygon((0, 0.7), (0.15, 0.2), (0.5, 0), (0.85, 0.25), (1, 0.75), (0.9, 1), (0.1, 1))
    pen.polygon((0.5, 0), (0.85, 0.25), (0.6, 0.5), (0.4, 0.35), colour=darker(pen.body, 1.25))


def _cup(pen: Pen) -> None:
    pen.draw.ellipse(
        [*pen.at((0.55, 0.2), (1, 0.75))], outline=darker(pen.body), width=max(2, round(pen.box.width * 0.09))
    )
    pen.polygon((0, 0), (0.78, 0), (0.68, 1), (0.1, 1))
    pen.block(0.03, 0.12, 0.75, 0.24, pen.detail)


def _cube(pen: Pen) -> None:
    pen.block(0, 0.25, 0.75, 1)
    pen.polygon((0, 0.25), (0.25, 0), (1, 0), (0.75, 0.25), colour=darker(pen.body, 1.25))
    pen.polygon((0.75, 0.25), (1, 0), (1, 0.75), (0.75, 1), colour=darker(pen.body, 0.7))


def _star(pen: Pen) -> None:
    turns = np.arange(10) * np.pi / 5 - np.pi / 2
    reach = np.where(np.arange(10) % 2 == 0, 1.0, 0.45)
    xs, ys = reach * np.cos(turns), reach * np.sin(turns)
    places = zip((xs - xs.min()) / np.ptp(xs), (ys - ys.min()) / np.ptp(ys), strict=True)
    pen.polygon(*((float(x), float(y)) for x, y in places))


def _cat(pen: Pen) -> None:
    pen.oval(0.1, 0.4, 1, 1)
    pen.oval(0, 0.1, 0.6, 0.65)
    for x in (0.02, 0.36):
        pen.polygon((x, 0.25), (x + 0.08, 0), (x + 0.22, 0.2))
    for x in (0.15, 0.36):
        pen.oval(x, 0.3, x + 0.08, 0.4, pen.detail)


def _bottle(pen: Pen) -> None:
    pen.block(0.32, 0, 0.68, 0.35, darker(pen.body, 0.8))
    pen.polygon((0.32, 0.3), (0.68, 0.3), (1, 0.5), (1, 1), (0, 1), (0, 0.5))
    pen.block(0, 0.62, 1, 0.82, pen.detail)


DRAWN: dict[str, Callable[[Pen], None]] = {
    **{"table": _table, "stool": _stool, "pedestal": _pedestal, "board": _board, "umbrella": _umbrella},
    **{"crate": _crate, "hoop": _hoop, "cage": _cage, "cloud": _cloud, "balloon": _balloon, "bird": _bird},
    **{"sign": _sign, "flag": _flag, "lamp": _lamp, "house": _house, "bush": _bush, "stone": _stone},
    **{"cup": _cup, "cube": _cube, "star": _star, "cat": _cat, "bottle": _bottle},
}
"""Every thing by its name, which is its category in the annotations."""


def draw_thing(
    draw: ImageDraw.ImageDraw, kind: str, box: Box, rng: np.random.Generator, not_like: Sequence[Colour] = ()
) -> Colour:
    """Draw a thing into a box of canvas pixels in random colours, its own none of `not_like`; returns that colour."""
    choice = [colour for colour in COLOURS if colour not in not_like]
    body, detail = (choice[place] for place in rng.choice(len(choice), 2, replace=False))
    light = float(rng.uniform(0.75, 1.1))
    DRAWN[kind](Pen(draw, box, darker(body, light), darker(detail, light)))
    return body
