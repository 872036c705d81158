"""The five flowers as shapes: petal outlines, rays and discs, drawn with Pillow.

Every flower is described in its own unit coordinates (centre at the origin, reach about 1, y downwards) and brought
to pixels by a ``Pose``. What tells the classes apart is the shape alone: the colours are handed in from outside.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw

Array = np.ndarray
GOLDEN_ANGLE = float(np.pi * (3 - np.sqrt(5)))
UP = -np.pi / 2


@dataclass(frozen=True)
class Pose:
    """Where and how a flower stands: ``centre`` and ``scale`` in pixels, ``angle`` and ``tilt_axis`` in radians.

    ``squash`` (0 to 1] is the shortening across ``tilt_axis``, as a tilted flower shows it; ``lean`` is a slight
    perspective (0 for none) that makes the near side larger than the far one.
    """

    centre: tuple[float, float]
    scale: float
    angle: float = 0.0
    squash: float = 1.0
    tilt_axis: float = 0.0
    lean: float = 0.0

    def place(self, points: Array) -> Array:
        """Bring unit coordinates, an array of shape (..., 2), to pixel coordinates of the same shape."""
        turned = points @ rotation(self.angle - self.tilt_axis).T
        near = 1.0 + self.lean * np.clip(turned[..., 1:], -1.5, 1.5)
        tilted = turned * np.array([1.0, self.squash]) * near
        return tilted @ rotation(self.tilt_axis).T * self.scale + np.array(self.centre)


@dataclass(frozen=True)
class Tints:
    """The colours of one flower, each an RGB array of shape (3,) in 0..255."""

    petal: Array
    heart: Array
    leaf: Array


@dataclass(frozen=True)
class Brush:
    """What a flower is drawn with: the canvas, the pose, the random numbers and the light's direction (radians)."""

    draw: ImageDraw.ImageDraw
    pose: Pose
    rng: np.random.Generator
    light: float

    def fill(self, outline: Array, colour: Array) -> None:
        """Fill the closed outline of shape (n, 2), unit coordinates, with an RGB colour."""
        self.draw.polygon(self.pose.place(outline).ravel().tolist(), fill=paint(colour))

    def stroke(self, line: Array, colour: Array, width: float) -> None:
        """Draw an open line of shape (n, 2); ``width`` is in unit coordinates, at least one pixel is drawn."""
        pixels = max(1, round(width * self.pose.scale))
        self.draw.line(self.pose.place(line).ravel().tolist(), fill=paint(colour), width=pixels, joint="curve")

    def lit(self, colour: Array, angle: float, strength: float = 0.14) -> Array:
        """Return the colour as a part facing ``angle`` (radians) shows it, with a little unevenness."""
        return shade(colour, 1 + strength * np.cos(angle - self.light) + self.rng.normal(0, 0.04))


def rotation(angle: float) -> Array:
    """Return the 2 x 2 matrix that turns column vectors by ``angle`` radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def shade(colour: Array, factor: float) -> Array:
    """Return the RGB colour darker (factor below 1) or lighter, bounded to 0..255."""
    return np.clip(colour * factor, 0, 255)


def mix(first: Array, second: Array, share: float) -> Array:
    """Return the blend of two RGB colours; ``share`` (0..1) is the second one's part."""
    return first * (1 - share) + second * share


def paint(colour: Array) -> tuple[int, int, int]:
    """Return the RGB array as the integers Pillow wants."""
    red, green, blue = np.clip(np.rint(colour), 0, 255).astype(int).tolist()
    return red, green, blue


def blade(start: float, end: float, width: float, base: float = 0.5, tip: float = 0.5, bend: float = 0.0) -> Array:
    """Return a petal's outline along +x from ``start`` to ``end``, shape (24, 2).

    ``width`` is the greatest half width. The exponents ``base`` and ``tip`` shape the ends: 0.5 is round, 1 and more
    is pointed, less than 0.5 is blunt. ``bend`` is how far the tip swerves aside.
    """
    along = (1 - np.cos(np.linspace(0, np.pi, 13))) / 2
    peak = base / (base + tip)
    half = width * (along / peak) ** base * ((1 - along) / (1 - peak)) ** tip
    spine = bend * along**2
    x = start + along * (end - start)
    there = np.stack([x, spine + half], axis=1)
    back = np.stack([x, spine - half], axis=1)[-2:0:-1]
    return np.concatenate([there, back])


def ellipse(centre: tuple[float, float], across: float, down: float, points: int = 28) -> Array:
    """Return the outline of an ellipse with the half axes ``across`` and ``down``, shape (points, 2)."""
    turn = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([centre[0] + across * np.cos(turn), centre[1] + down * np.sin(turn)], axis=1)


def petal(brush: Brush, outline: Array, angle: float, colour: Array, rim: float = 0.78) -> None:
    """Draw one petal: the outline (along +x, shape (n, 2)) turned to ``angle``, darker rim, body and midrib."""
    turn = rotation(angle).T
    body = brush.lit(colour, angle)
    brush.fill(outline @ turn, shade(body, rim))
    brush.fill(shrunk(outline, 0.8) @ turn, body)
    start, end = outline[0], outline[len(outline) // 2]
    rib = np.stack([start + (end - start) * 0.15, start + (end - start) * 0.75])
    brush.stroke(rib @ turn, shade(body, 0.86), 0.012)


def shrunk(outline: Array, factor: float) -> Array:
    """Return the outline, shape (n, 2), drawn in towards its own middle."""
    middle = outline.mean(axis=0)
    return middle + (outline - middle) * factor


def ring(brush: Brush, count: int, offset: float, wobble: float) -> list[float]:
    """Return ``count`` evenly spread angles (radians), each off by a normal deviation of ``wobble`` spacings."""
    spacing = 2 * np.pi / count
    return (offset + spacing * (np.arange(count) + brush.rng.normal(0, wobble, count))).tolist()


def seeds(brush: Brush, radius: float, count: int, colour: Array, size: float) -> None:
    """Scatter ``count`` dots of half width ``size`` in the spiral order of a flower head, within ``radius``."""
    for number in range(count):
        reach, turn = radius * np.sqrt((number + 0.5) / count), number * GOLDEN_ANGLE
        spot = (float(reach * np.cos(turn)), float(reach * np.sin(turn)))
        brush.fill(ellipse(spot, size, size, 6), shade(colour, float(brush.rng.uniform(0.6, 1.35))))


def daisy(brush: Brush, tints: Tints) -> None:
    """Draw a ring of thin, separate, round-tipped petals about a small disc."""
    rng = brush.rng
    count, disc = int(rng.integers(11, 19)), rng.uniform(0.2, 0.28)
    width = rng.uniform(0.55, 0.75) * np.pi * 0.65 / count
    for angle in ring(brush, count, rng.uniform(0, 6.3), 0.1):
        reach = rng.uniform(0.9, 1.04)
        petal(brush, blade(disc * 0.6, reach, width, 0.55, 0.3, rng.normal(0, 0.05)), angle, tints.petal)
    brush.fill(ellipse((0, 0), disc, disc), shade(tints.heart, 0.72))
    brush.fill(ellipse((0, 0), disc * 0.9, disc * 0.9), tints.heart)
    seeds(brush, disc * 0.85, 30, tints.heart, 0.022)


def sunflower(brush: Brush, tints: Tints) -> None:
    """Draw a wide seed disc, spiral-textured, within two close ranks of short pointed petals."""
    rng = brush.rng
    count, disc = int(rng.integers(17, 25)), rng.uniform(0.5, 0.6)
    for rank, tone in ((0.5, 0.82), (0.0, 1.0)):
        for angle in ring(brush, count, rank * 2 * np.pi / count, 0.12):
            outline = blade(disc * 0.8, rng.uniform(0.92, 1.08), rng.uniform(0.09, 0.13), 0.6, 1.0, rng.normal(0, 0.05))
            petal(brush, outline, angle, shade(tints.petal, tone))
    brush.fill(ellipse((0, 0), disc, disc), shade(tints.heart, 0.6))
    seeds(brush, disc * 0.97, 130, tints.heart, 0.026)
    seeds(brush, disc * rng.uniform(0.35, 0.5), 40, mix(tints.heart, tints.leaf, rng.uniform(0, 0.6)), 0.026)


def dandelion(brush: Brush, tints: Tints) -> None:
    """Draw a dense pompon of very many fine rays or, in a third of the cases, the open seed head."""
    if brush.rng.random() < 0.33:
        clock(brush, tints)
        return
    rng = brush.rng
    for reach, count, tone in ((1.0, 64, 0.78), (0.86, 60, 0.88), (0.7, 52, 0.97), (0.52, 42, 1.05), (0.33, 30, 1.12)):
        for angle in ring(brush, count, rng.uniform(0, 6.3), 0.3):
            outline = blade(reach * 0.35, reach * rng.uniform(0.88, 1.07), 0.027, 1.0, 0.25, rng.normal(0, 0.05))
            turned = outline @ rotation(angle).T
            body = brush.lit(tints.petal, angle)
            brush.fill(turned, shade(body, tone * 0.72))
            brush.fill(turned * 0.985 - 0.006, shade(body, tone))
    seeds(brush, 0.16, 26, shade(tints.petal, 0.85), 0.024)


def clock(brush: Brush, tints: Tints) -> None:
    """Draw a dandelion's seed head: filaments from a small heart, each ending in a star of hairs."""
    rng = brush.rng
    pale = mix(tints.petal, np.array([255.0, 255.0, 255.0]), 0.45)
    hairs = np.linspace(-1.25, 1.25, 6)
    for reach, count, tone in ((0.5, 22, 0.75), (0.72, 34, 0.86), (0.9, 46, 1.0)):
        for angle in ring(brush, count, rng.uniform(0, 6.3), 0.25):
            toward = np.array([np.cos(angle), np.sin(angle)])
            tip = toward * reach * rng.uniform(0.9, 1.05)
            body = brush.lit(shade(pale, tone), angle)
            brush.stroke(np.stack([toward * 0.12, tip]), shade(body, 0.85), 0.01)
            for spread in hairs:
                hair = np.array([np.cos(angle + spread), np.sin(angle + spread)]) * 0.15
                brush.stroke(np.stack([tip, tip + hair]), body, 0.009)
    brush.fill(ellipse((0, 0), 0.14, 0.14), shade(tints.heart, 0.6))
    seeds(brush, 0.13, 20, tints.heart, 0.02)


def rose(brush: Brush, tints: Tints) -> None:
    """Draw whorls of broad overlapping petals that close to a spiral in the middle."""
    rng = brush.rng
    start = rng.uniform(0, 6.3)
    for reach, count, tone in ((1.0, 6, 0.92), (0.82, 5, 1.0), (0.64, 5, 0.94), (0.47, 4, 0.86), (0.32, 3, 0.78)):
        start += GOLDEN_ANGLE / 2
        for angle in ring(brush, count, start, 0.1):
            width = reach * rng.uniform(0.5, 0.6)
            outline = blade(0, reach * rng.uniform(0.92, 1.05), width, 0.5, 0.3, rng.normal(0, 0.08))
            turn = rotation(angle).T
            body = brush.lit(shade(tints.petal, tone), angle)
            brush.fill(outline * 1.03 @ turn, shade(body, 0.55))
            brush.fill(outline @ turn, shade(body, 1.14))
            brush.fill(outline * [0.92, 0.94] @ turn, body)
            brush.fill(outline * [0.7, 0.8] @ turn, shade(body, 0.88))
    turns = np.linspace(0.5, 4.6 * np.pi, 40)
    spiral = np.stack([np.cos(turns + start), np.sin(turns + start)], axis=1) * (turns / turns[-1] * 0.24)[:, None]
    brush.fill(ellipse((0, 0), 0.24, 0.24), shade(tints.petal, 0.74))
    brush.stroke(spiral, shade(tints.petal, 0.45), 0.028)


def tulip(brush: Brush, tints: Tints) -> None:
    """Draw a cup from the side: back petals, two flanks and, mostly, a front petal (the foot is at the origin)."""
    rng = brush.rng
    height, flare = rng.uniform(1.15, 1.45), rng.uniform(0.05, 0.3)
    for side in (-1, 1):
        back = blade(0, height * rng.uniform(0.9, 1.0), 0.3, 0.5, 0.8)
        petal(brush, back, UP + side * rng.uniform(0.1, 0.25), shade(tints.petal, 0.74))
    for side in (-1, 1):
        flank = blade(-0.02, height * rng.uniform(0.93, 1.05), 0.34, 0.4, 0.75, side * flare * 0.6)
        petal(brush, flank, UP + side * (0.22 + flare * 0.6), shade(tints.petal, 0.92))
    if rng.random() < 0.8:
        front = blade(-0.04, height * rng.uniform(0.8, 0.95), rng.uniform(0.32, 0.42), 0.4, 0.7)
        petal(brush, front, UP + rng.normal(0, 0.06), shade(tints.petal, 1.08))


DRAWERS: dict[str, Callable[[Brush, Tints], None]] = {
    "daisy": daisy,
    "dandelion": dandelion,
    "rose": rose,
    "sunflower": sunflower,
    "tulip": tulip,
}
