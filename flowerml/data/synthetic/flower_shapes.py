"""The five flowers as shapes: petals, rays and discs. Classes differ by shape alone: the colours are arguments."""

from collections.abc import Callable

import numpy as np

from flowerml.data.synthetic.brush import (
    Array,
    Brush,
    FlowerColours,
    draw_petal,
    ellipse,
    mix,
    petal_outline,
    ring_angles,
    rotation,
    shade,
)

GOLDEN_ANGLE = float(np.pi * (3 - np.sqrt(5)))
UP = -np.pi / 2


def draw_seeds(brush: Brush, radius: float, count: int, colour: Array, size: float) -> None:
    """Draw `count` dots of half width `size` on the spiral of a flower head, within `radius`."""
    for number in range(count):
        reach, turn = radius * np.sqrt((number + 0.5) / count), number * GOLDEN_ANGLE
        spot = (float(reach * np.cos(turn)), float(reach * np.sin(turn)))
        brush.fill(ellipse(spot, size, size, 6), shade(colour, float(brush.rng.uniform(0.6, 1.35))))


def draw_daisy(brush: Brush, colours: FlowerColours) -> None:
    """Draw a ring of thin, separate, round-tipped petals about a small disc."""
    rng = brush.rng
    count, disc = int(rng.integers(11, 19)), rng.uniform(0.2, 0.28)
    width = rng.uniform(0.55, 0.75) * np.pi * 0.65 / count
    for angle in ring_angles(brush, count, rng.uniform(0, 6.3), 0.1):
        reach = rng.uniform(0.9, 1.04)
        draw_petal(brush, petal_outline(disc * 0.6, reach, width, 0.55, 0.3, rng.normal(0, 0.05)), angle, colours.petal)
    brush.fill(ellipse((0, 0), disc, disc), shade(colours.heart, 0.72))
    brush.fill(ellipse((0, 0), disc * 0.9, disc * 0.9), colours.heart)
    draw_seeds(brush, disc * 0.85, 30, colours.heart, 0.022)


def draw_sunflower(brush: Brush, colours: FlowerColours) -> None:
    """Draw a wide, spiral-textured seed disc within two rows of short pointed petals."""
    rng = brush.rng
    count, disc = int(rng.integers(17, 25)), rng.uniform(0.5, 0.6)
    for rank, tone in ((0.5, 0.82), (0.0, 1.0)):
        for angle in ring_angles(brush, count, rank * 2 * np.pi / count, 0.12):
            outline = petal_outline(
                disc * 0.8, rng.uniform(0.92, 1.08), rng.uniform(0.09, 0.13), 0.6, 1.0, rng.normal(0, 0.05)
            )
            draw_petal(brush, outline, angle, shade(colours.petal, tone))
    brush.fill(ellipse((0, 0), disc, disc), shade(colours.heart, 0.6))
    draw_seeds(brush, disc * 0.97, 130, colours.heart, 0.026)
    draw_seeds(brush, disc * rng.uniform(0.35, 0.5), 40, mix(colours.heart, colours.leaf, rng.uniform(0, 0.6)), 0.026)


def draw_dandelion(brush: Brush, colours: FlowerColours) -> None:
    """Draw a dense ball of fine rays or, in a third of the cases, the open seed head."""
    if brush.rng.random() < 0.33:
        draw_seed_head(brush, colours)
        return
    rng = brush.rng
    for reach, count, tone in ((1.0, 64, 0.78), (0.86, 60, 0.88), (0.7, 52, 0.97), (0.52, 42, 1.05), (0.33, 30, 1.12)):
        for angle in ring_angles(brush, count, rng.uniform(0, 6.3), 0.3):
            outline = petal_outline(
                reach * 0.35, reach * rng.uniform(0.88, 1.07), 0.027, 1.0, 0.25, rng.normal(0, 0.05)
            )
            turned = outline @ rotation(angle).T
            body = brush.lit_colour(colours.petal, angle)
            brush.fill(turned, shade(body, tone * 0.72))
            brush.fill(turned * 0.985 - 0.006, shade(body, tone))
    draw_seeds(brush, 0.16, 26, shade(colours.petal, 0.85), 0.024)


def draw_seed_head(brush: Brush, colours: FlowerColours) -> None:
    """Draw a dandelion's seed head: filaments from a small heart, each ending in a star of hairs."""
    rng = brush.rng
    pale = mix(colours.petal, np.array([255.0, 255.0, 255.0]), 0.45)
    hairs = np.linspace(-1.25, 1.25, 6)
    for reach, count, tone in ((0.5, 22, 0.75), (0.72, 34, 0.86), (0.9, 46, 1.0)):
        for angle in ring_angles(brush, count, rng.uniform(0, 6.3), 0.25):
            toward = np.array([np.cos(angle), np.sin(angle)])
            tip = toward * reach * rng.uniform(0.9, 1.05)
            body = brush.lit_colour(shade(pale, tone), angle)
            brush.stroke(np.stack([toward * 0.12, tip]), shade(body, 0.85), 0.01)
            for spread in hairs:
                hair = np.array([np.cos(angle + spread), np.sin(angle + spread)]) * 0.15
                brush.stroke(np.stack([tip, tip + hair]), body, 0.009)
    brush.fill(ellipse((0, 0), 0.14, 0.14), shade(colours.heart, 0.6))
    draw_seeds(brush, 0.13, 20, colours.heart, 0.02)


def draw_rose(brush: Brush, colours: FlowerColours) -> None:
    """Draw whorls of broad overlapping petals with a spiral in the middle."""
    rng = brush.rng
    start = rng.uniform(0, 6.3)
    for reach, count, tone in ((1.0, 6, 0.92), (0.82, 5, 1.0), (0.64, 5, 0.94), (0.47, 4, 0.86), (0.32, 3, 0.78)):
        start += GOLDEN_ANGLE / 2
        for angle in ring_angles(brush, count, start, 0.1):
            width = reach * rng.uniform(0.5, 0.6)
            outline = petal_outline(0, reach * rng.uniform(0.92, 1.05), width, 0.5, 0.3, rng.normal(0, 0.08))
            turn = rotation(angle).T
            body = brush.lit_colour(shade(colours.petal, tone), angle)
            brush.fill(outline * 1.03 @ turn, shade(body, 0.55))
            brush.fill(outline @ turn, shade(body, 1.14))
            brush.fill(outline * [0.92, 0.94] @ turn, body)
            brush.fill(outline * [0.7, 0.8] @ turn, shade(body, 0.88))
    turns = np.linspace(0.5, 4.6 * np.pi, 40)
    spiral = np.stack([np.cos(turns + start), np.sin(turns + start)], axis=1) * (turns / turns[-1] * 0.24)[:, None]
    brush.fill(ellipse((0, 0), 0.24, 0.24), shade(colours.petal, 0.74))
    brush.stroke(spiral, shade(colours.petal, 0.45), 0.028)


def draw_tulip(brush: Brush, colours: FlowerColours) -> None:
    """Draw a cup from the side: back petals, two flanks and, mostly, a front petal (the foot is at the origin)."""
    rng = brush.rng
    height, flare = rng.uniform(1.15, 1.45), rng.uniform(0.05, 0.3)
    for side in (-1, 1):
        back = petal_outline(0, height * rng.uniform(0.9, 1.0), 0.3, 0.5, 0.8)
        draw_petal(brush, back, UP + side * rng.uniform(0.1, 0.25), shade(colours.petal, 0.74))
    for side in (-1, 1):
        flank = petal_outline(-0.02, height * rng.uniform(0.93, 1.05), 0.34, 0.4, 0.75, side * flare * 0.6)
        draw_petal(brush, flank, UP + side * (0.22 + flare * 0.6), shade(colours.petal, 0.92))
    if rng.random() < 0.8:
        front = petal_outline(-0.04, height * rng.uniform(0.8, 0.95), rng.uniform(0.32, 0.42), 0.4, 0.7)
        draw_petal(brush, front, UP + rng.normal(0, 0.06), shade(colours.petal, 1.08))


DRAW_FLOWER: dict[str, Callable[[Brush, FlowerColours], None]] = {
    "daisy": draw_daisy,
    "dandelion": draw_dandelion,
    "rose": draw_rose,
    "sunflower": draw_sunflower,
    "tulip": draw_tulip,
}
