"""The objects of the generated scenes, drawn with Pillow into a box.

Colours are random, so categories differ by shape. Coordinates are relative to the box: (0, 0) is its upper left corner,
(1, 1) the lower right; every shape touches all four edges.
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
    """Drawing context of an object: the canvas, the box it fills in canvas pixels, and its two colours."""

    draw: ImageDraw.ImageDraw
    box: Box
    body: Colour
    detail: Colour

    def to_pixels(self, *points: tuple[float, float]) -> list[tuple[float, float]]:
        """Box-relative points as canvas pixels."""
        return [(self.box.x0 + x * self.box.width, self.box.y0 + y * self.box.height) for x, y in points]

    def polygon(self, *points: tuple[float, float], colour: Colour | None = None) -> None:
        """A filled outline."""
        self.draw.polygon(self.to_pixels(*points), fill=colour or self.body)

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, colour: Colour | None = None) -> None:
        """A filled rectangle."""
        self.polygon((x0, y0), (x1, y0), (x1, y1), (x0, y1), colour=colour)

    def ellipse(self, x0: float, y0: float, x1: float, y1: float, colour: Colour | None = None) -> None:
        """A filled ellipse."""
        self.draw.ellipse([*self.to_pixels((x0, y0), (x1, y1))], fill=colour or self.body)


def scale_brightness(colour: Colour, factor: float = 0.65) -> Colour:
    """The colour times `factor`, clipped at 255."""
    red, green, blue = (min(255, int(part * factor)) for part in colour)
    return red, green, blue


def _draw_table(pen: Pen) -> None:
    for x, foot in ((0.2, 0.85), (0.74, 0.85), (0.03, 1.0), (0.91, 1.0)):
        pen.rectangle(x, 0.1, x + 0.06, foot, scale_brightness(pen.body))
    pen.polygon((0.15, 0), (0.85, 0), (1, 0.22), (0, 0.22))
    pen.rectangle(0, 0.22, 1, 0.29, scale_brightness(pen.body, 0.8))


def _draw_stool(pen: Pen) -> None:
    for x in (0.06, 0.47, 0.86):
        pen.polygon((x, 0.1), (x + 0.08, 0.1), (x + 0.08, 1), (x, 1), colour=scale_brightness(pen.body))
    pen.ellipse(0, 0.04, 1, 0.3, scale_brightness(pen.body, 0.8))
    pen.ellipse(0, 0, 1, 0.24)


def _draw_pedestal(pen: Pen) -> None:
    pen.rectangle(0.08, 0.1, 0.92, 1, scale_brightness(pen.body, 0.85))
    pen.rectangle(0, 0, 1, 0.14)
    for y in (0.35, 0.6, 0.85):
        pen.rectangle(0.08, y, 0.92, y + 0.03, scale_brightness(pen.body))


def _draw_board(pen: Pen) -> None:
    pen.rectangle(0, 0, 1, 1, scale_brightness(pen.body, 0.6))
    pen.rectangle(0.03, 0.03, 0.97, 0.97)
    for y in (0.2, 0.4, 0.6, 0.8):
        pen.rectangle(0.08, y, 0.92, y + 0.015, scale_brightness(pen.body, 0.9))


def _draw_umbrella(pen: Pen) -> None:
    pen.rectangle(0.475, 0.2, 0.525, 1, scale_brightness(pen.detail))
    pen.draw.pieslice([*pen.to_pixels((0, 0), (1, 0.8))], 180, 360, fill=pen.body)
    pen.polygon((0.33, 0.4), (0.5, 0), (0.67, 0.4), colour=scale_brightness(pen.body, 0.8))


def _draw_crate(pen: Pen) -> None:
    pen.rectangle(0, 0, 1, 1)
    pen.rectangle(0.09, 0.09, 0.91, 0.91, scale_brightness(pen.body, 0.3))


def _draw_hoop(pen: Pen) -> None:
    width = max(2, round(0.08 * min(pen.box.width, pen.box.height)))
    pen.draw.ellipse([*pen.to_pixels((0, 0), (1, 1))], outline=pen.body, width=width)


def _draw_cage(pen: Pen) -> None:
    for x in np.linspace(0, 0.96, 7):
        pen.rectangle(float(x), 0, float(x) + 0.04, 1, scale_brightness(pen.body, 0.8))
    pen.rectangle(0, 0, 1, 0.06)
    pen.rectangle(0, 0.94, 1, 1)


def _draw_cloud(pen: Pen) -> None:
    for x0, y0, x1, y1 in (
        (0, 0.35, 0.45, 1),
        (0.55, 0.35, 1, 1),
        (0.2, 0, 0.65, 0.75),
        (0.45, 0.1, 0.85, 0.8),
        (0.25, 0.45, 0.8, 1),
    ):
        pen.ellipse(x0, y0, x1, y1)


def _draw_balloon(pen: Pen) -> None:
    pen.rectangle(0.48, 0.7, 0.52, 1, scale_brightness(pen.detail))
    pen.ellipse(0, 0, 1, 0.78)
    pen.ellipse(0.2, 0.1, 0.4, 0.3, scale_brightness(pen.body, 1.3))


def _draw_bird(pen: Pen) -> None:
    pen.polygon((0.3, 0.5), (0, 0), (0.6, 0.45), colour=scale_brightness(pen.body, 0.8))
    pen.polygon((0.45, 0.5), (0.8, 0), (0.7, 0.55), colour=scale_brightness(pen.body, 0.8))
    pen.ellipse(0.15, 0.4, 0.85, 1)
    pen.polygon((0.8, 0.6), (1, 0.7), (0.8, 0.8), colour=pen.detail)


def _draw_sign(pen: Pen) -> None:
    pen.rectangle(0.45, 0.3, 0.55, 1, scale_brightness(pen.detail))
    pen.polygon((0, 0.05), (0.75, 0.05), (1, 0.22), (0.75, 0.4), (0, 0.4), (0, 0), (0.1, 0))
    pen.rectangle(0.15, 0.2, 0.65, 0.25, pen.detail)


def _draw_flag(pen: Pen) -> None:
    pen.rectangle(0, 0, 0.1, 1, scale_brightness(pen.detail))
    pen.polygon((0.1, 0.02), (1, 0.2), (0.1, 0.42))


def _draw_lamp(pen: Pen) -> None:
    pen.rectangle(0.44, 0.2, 0.56, 1, scale_brightness(pen.detail))
    pen.rectangle(0.2, 0.94, 0.8, 1, scale_brightness(pen.detail))
    pen.ellipse(0, 0, 1, 0.34)


def _draw_house(pen: Pen) -> None:
    pen.rectangle(0.06, 0.4, 0.94, 1)
    pen.polygon((0, 0.42), (0.5, 0), (1, 0.42), colour=pen.detail)
    pen.rectangle(0.4, 0.62, 0.6, 1, scale_brightness(pen.detail, 0.5))


def _draw_bush(pen: Pen) -> None:
    for x0, y0, x1, y1 in ((0, 0.3, 0.5, 1), (0.5, 0.3, 1, 1), (0.25, 0, 0.75, 0.7), (0.2, 0.4, 0.8, 1)):
        pen.ellipse(x0, y0, x1, y1, scale_brightness(pen.body, 0.85 if x0 else 1))
    for x, y in ((0.2, 0.6), (0.5, 0.25), (0.7, 0.7), (0.45, 0.75)):
        pen.ellipse(x, y, x + 0.09, y + 0.09, pen.detail)


def _draw_stone(pen: Pen) -> None:
    pen.polygon((0, 0.7), (0.15, 0.2), (0.5, 0), (0.85, 0.25), (1, 0.75), (0.9, 1), (0.1, 1))
    pen.polygon((0.5, 0), (0.85, 0.25), (0.6, 0.5), (0.4, 0.35), colour=scale_brightness(pen.body, 1.25))


def _draw_cup(pen: Pen) -> None:
    pen.draw.ellipse(
        [*pen.to_pixels((0.55, 0.2), (1, 0.75))],
        outline=scale_brightness(pen.body),
        width=max(2, round(pen.box.width * 0.09)),
    )
    pen.polygon((0, 0), (0.78, 0), (0.68, 1), (0.1, 1))
    pen.rectangle(0.03, 0.12, 0.75, 0.24, pen.detail)


def _draw_cube(pen: Pen) -> None:
    pen.rectangle(0, 0.25, 0.75, 1)
    pen.polygon((0, 0.25), (0.25, 0), (1, 0), (0.75, 0.25), colour=scale_brightness(pen.body, 1.25))
    pen.polygon((0.75, 0.25), (1, 0), (1, 0.75), (0.75, 1), colour=scale_brightness(pen.body, 0.7))


def _draw_star(pen: Pen) -> None:
    turns = np.arange(10) * np.pi / 5 - np.pi / 2
    reach = np.where(np.arange(10) % 2 == 0, 1.0, 0.45)
    xs, ys = reach * np.cos(turns), reach * np.sin(turns)
    points = zip((xs - xs.min()) / np.ptp(xs), (ys - ys.min()) / np.ptp(ys), strict=True)
    pen.polygon(*((float(x), float(y)) for x, y in points))


def _draw_cat(pen: Pen) -> None:
    pen.ellipse(0.1, 0.4, 1, 1)
    pen.ellipse(0, 0.1, 0.6, 0.65)
    for x in (0.02, 0.36):
        pen.polygon((x, 0.25), (x + 0.08, 0), (x + 0.22, 0.2))
    for x in (0.15, 0.36):
        pen.ellipse(x, 0.3, x + 0.08, 0.4, pen.detail)


def _draw_bottle(pen: Pen) -> None:
    pen.rectangle(0.32, 0, 0.68, 0.35, scale_brightness(pen.body, 0.8))
    pen.polygon((0.32, 0.3), (0.68, 0.3), (1, 0.5), (1, 1), (0, 1), (0, 0.5))
    pen.rectangle(0, 0.62, 1, 0.82, pen.detail)


DRAW_OBJECT: dict[str, Callable[[Pen], None]] = {
    **{
        "table": _draw_table,
        "stool": _draw_stool,
        "pedestal": _draw_pedestal,
        "board": _draw_board,
        "umbrella": _draw_umbrella,
    },
    **{
        "crate": _draw_crate,
        "hoop": _draw_hoop,
        "cage": _draw_cage,
        "cloud": _draw_cloud,
        "balloon": _draw_balloon,
        "bird": _draw_bird,
    },
    **{
        "sign": _draw_sign,
        "flag": _draw_flag,
        "lamp": _draw_lamp,
        "house": _draw_house,
        "bush": _draw_bush,
        "stone": _draw_stone,
    },
    **{"cup": _draw_cup, "cube": _draw_cube, "star": _draw_star, "cat": _draw_cat, "bottle": _draw_bottle},
}
"""Drawing function by category."""


def draw_object(
    draw: ImageDraw.ImageDraw, kind: str, box: Box, rng: np.random.Generator, except_colours: Sequence[Colour] = ()
) -> Colour:
    """Draw an object into a box of canvas pixels in random colours but `except_colours`; return its main colour."""
    choice = [colour for colour in COLOURS if colour not in except_colours]
    body, detail = (choice[index] for index in rng.choice(len(choice), 2, replace=False))
    light = float(rng.uniform(0.75, 1.1))
    DRAW_OBJECT[kind](Pen(draw, box, scale_brightness(body, light), scale_brightness(detail, light)))
    return body
