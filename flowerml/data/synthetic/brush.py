"""Drawing primitives of the flowers: pose, colours, outlines and petals, drawn with Pillow.

Outlines are in unit coordinates (centre at the origin, radius about 1, y downwards), which a `Pose` maps to pixels.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import ImageDraw

Array = np.ndarray
_ALONG = (1 - np.cos(np.linspace(0, np.pi, 13))) / 2  # places along a petal, denser at its ends
_TURNS: dict[int, tuple[Array, Array]] = {}  # cosines and sines of a circle's points, by their number


@dataclass(frozen=True)
class Pose:
    """Position and orientation of a flower: `centre` and `scale` in pixels, `angle` and `tilt_axis` in radians.

    `squash` in (0, 1] is the foreshortening across `tilt_axis`; `lean` is a slight perspective (0 for none) that
    enlarges the near side.
    """

    centre: tuple[float, float]
    scale: float
    angle: float = 0.0
    squash: float = 1.0
    tilt_axis: float = 0.0
    lean: float = 0.0

    def to_pixels(self, points: Array) -> Array:
        """Unit coordinates (..., 2) to pixel coordinates of the same shape."""
        turn, squash, back, centre = self._arrays
        turned = points @ turn
        near = 1.0 + self.lean * clip(turned[..., 1:], -1.5, 1.5)
        tilted = turned * squash * near
        return tilted @ back * self.scale + centre

    @cached_property
    def _arrays(self) -> tuple[Array, Array, Array, Array]:
        """The turn to the tilt's axis, the foreshortening, the turn back, and the centre."""
        turn, back = rotation(self.angle - self.tilt_axis).T, rotation(self.tilt_axis).T
        return turn, np.array([1.0, self.squash]), back, np.array(self.centre)


@dataclass(frozen=True)
class FlowerColours:
    """The colours of one flower, RGB arrays of shape (3,) in 0..255."""

    petal: Array
    heart: Array
    leaf: Array


@dataclass(frozen=True)
class Brush:
    """Drawing context of a flower: canvas, pose, random generator, and direction of the light in radians."""

    draw: ImageDraw.ImageDraw
    pose: Pose
    rng: np.random.Generator
    light: float

    def fill(self, outline: Array, colour: Array) -> None:
        """Fill the closed outline of shape (n, 2), unit coordinates, with an RGB colour."""
        self.draw.polygon(self.pose.to_pixels(outline).ravel().tolist(), fill=to_rgb_ints(colour))

    def stroke(self, line: Array, colour: Array, width: float) -> None:
        """Draw an open line of shape (n, 2); `width` is in unit coordinates, at least one pixel is drawn."""
        pixels = max(1, round(width * self.pose.scale))
        self.draw.line(
            self.pose.to_pixels(line).ravel().tolist(), fill=to_rgb_ints(colour), width=pixels, joint="curve"
        )

    def lit_colour(self, colour: Array, angle: float, strength: float = 0.14) -> Array:
        """Return the colour of a part facing `angle` (radians), with a little noise."""
        return shade(colour, 1 + strength * np.cos(angle - self.light) + self.rng.normal(0, 0.04))


def rotation(angle: float) -> Array:
    """Return the 2 x 2 matrix that turns column vectors by `angle` radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def clip(values: Array, low: float, high: float) -> Array:
    """As `np.clip`, which on the few numbers of a colour or an outline takes ten times as long."""
    clipped: Array = np.minimum(np.maximum(values, low), high)
    return clipped


def shade(colour: Array, factor: float) -> Array:
    """Return the RGB colour times `factor`, clipped to 0..255."""
    return clip(colour * factor, 0, 255)


def mix(first: Array, second: Array, share: float) -> Array:
    """Return the blend of two RGB colours; `share` (0..1) is the weight of the second."""
    return first * (1 - share) + second * share


def to_rgb_ints(colour: Array) -> tuple[int, int, int]:
    """Return the RGB array as integers for Pillow."""
    red, green, blue = (min(max(round(value), 0), 255) for value in colour.tolist())
    return red, green, blue


def petal_outline(
    start: float, end: float, width: float, base: float = 0.5, tip: float = 0.5, bend: float = 0.0
) -> Array:
    """Return a petal's outline along +x from `start` to `end`, shape (24, 2).

    `width` is the largest half width. The exponents `base` and `tip` shape the ends: 0.5 is round, 1 and more is
    pointed, less than 0.5 is blunt. `bend` is the sideways offset of the tip.
    """
    along = _ALONG
    peak = base / (base + tip)
    half = width * (along / peak) ** base * ((1 - along) / (1 - peak)) ** tip
    spine = bend * along**2
    x = start + along * (end - start)
    outline = np.empty((24, 2))
    outline[:13, 0], outline[:13, 1] = x, spine + half
    outline[13:, 0], outline[13:, 1] = x[-2:0:-1], (spine - half)[-2:0:-1]
    return outline


def ellipse(centre: tuple[float, float], across: float, down: float, points: int = 28) -> Array:
    """Return the outline of an ellipse with the half axes `across` and `down`, shape (points, 2)."""
    if points not in _TURNS:
        turn = np.linspace(0, 2 * np.pi, points, endpoint=False)
        _TURNS[points] = np.cos(turn), np.sin(turn)
    cos, sin = _TURNS[points]
    outline = np.empty((points, 2))
    outline[:, 0], outline[:, 1] = centre[0] + across * cos, centre[1] + down * sin
    return outline


def draw_petal(brush: Brush, outline: Array, angle: float, colour: Array, rim: float = 0.78) -> None:
    """Draw one petal: the outline (along +x, shape (n, 2)) turned to `angle`, darker rim, body and midrib."""
    turn = rotation(angle).T
    body = brush.lit_colour(colour, angle)
    brush.fill(outline @ turn, shade(body, rim))
    brush.fill(shrink(outline, 0.8) @ turn, body)
    start, end = outline[0], outline[len(outline) // 2]
    rib = np.stack([start + (end - start) * 0.15, start + (end - start) * 0.75])
    brush.stroke(rib @ turn, shade(body, 0.86), 0.012)


def shrink(outline: Array, factor: float) -> Array:
    """Return the outline (n, 2) scaled by `factor` about its mean."""
    middle = outline.mean(axis=0)
    return middle + (outline - middle) * factor


def ring_angles(brush: Brush, count: int, offset: float, wobble: float) -> list[float]:
    """Return `count` evenly spaced angles (radians) with normal jitter of standard deviation `wobble` spacings."""
    spacing = 2 * np.pi / count
    return (offset + spacing * (np.arange(count) + brush.rng.normal(0, wobble, count))).tolist()
