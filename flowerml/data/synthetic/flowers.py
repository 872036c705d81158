"""A generated flower data set: five classes that differ by shape, with colours, light, poses and backgrounds in common.

It replaces photographs where there are none. Every class can have every colour of the palette, so a colour histogram
does not suffice; a picture depends only on (seed, class, index, size).
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from flowerml.data.synthetic.brush import Array, Brush, FlowerColours, Pose, mix, petal_outline, rotation, shade, shrink
from flowerml.data.synthetic.canvas import (
    JPEG_QUALITY,
    PALETTE,
    apply_camera_effects,
    draw_background,
    keyed_rng,
)
from flowerml.data.synthetic.flower_shapes import DRAW_FLOWER, UP
from flowerml.files import write_bytes

CLASSES: tuple[str, ...] = tuple(DRAW_FLOWER)
MIN_SIZE = 32
SUPERSAMPLE = 3

# A class's natural colours are more likely, never certain: the classifier has to use the shape.
NATURAL: dict[str, tuple[str, ...]] = {
    "daisy": ("white", "pink"),
    "dandelion": ("yellow", "white"),
    "rose": ("red", "pink"),
    "sunflower": ("yellow", "orange"),
    "tulip": ("red", "purple"),
}
NATURAL_WEIGHT = 2.0
HEARTS = ((225, 175, 40), (120, 75, 35), (60, 40, 30), (120, 130, 50), (200, 120, 40))


def make_flowers(
    root: Path, per_class: int, size: int = 160, seed: int = 11, on_image: Callable[[Path], None] | None = None
) -> list[Path]:
    """Write `per_class` JPEGs of every class as `root/<class>/<class>_0000.jpg` and so on; return their paths in order.

    `size` is the mean side in pixels. `on_image` is called with each path after the file is written. Equal arguments
    give equal bytes (with the same Pillow and numpy), and a larger `per_class` only adds files.

    Raises:
        ValueError: `per_class` is below 1 or `size` below 32.
        UserError: a file can't be written.
    """
    if per_class < 1:
        raise ValueError(f"per_class must be at least 1, not {per_class}")
    paths = []
    for kind in CLASSES:
        for index in range(per_class):
            picture = draw_flower(kind, keyed_rng(seed, kind, index, size), size)
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
            path = root / kind / f"{kind}_{index:04d}.jpg"
            write_bytes(path, buffer.getvalue())
            paths.append(path)
            if on_image is not None:
                on_image(path)
    return paths


def draw_flower(kind: str, rng: np.random.Generator, size: int) -> Image.Image:
    """Draw one RGB picture of the class `kind`; each side is 0.85 to 1.25 times `size` pixels.

    Raises:
        ValueError: `kind` is not one of `CLASSES` or `size` is below 32.
    """
    if kind not in DRAW_FLOWER:
        raise ValueError(f"unknown flower {kind!r}; the flowers are {', '.join(CLASSES)}")
    if size < MIN_SIZE:
        raise ValueError(f"size must be at least {MIN_SIZE} pixels, not {size}")
    width, height = (round(size * side) for side in rng.uniform(0.85, 1.25, 2))
    scene = draw_background(rng, width, height).resize(
        (width * SUPERSAMPLE, height * SUPERSAMPLE), Image.Resampling.BILINEAR
    )
    colours = choose_colours(kind, rng)
    light = float(rng.uniform(0, 2 * np.pi))
    if rng.random() < 0.25:
        draw_plant(kind, scene, rng, colours, light, reach=rng.uniform(0.3, 0.5), off=(0.26, 0.38))
    draw_plant(kind, scene, rng, colours, light, reach=rng.uniform(0.7, 1.02), off=(0.0, 0.09))
    return apply_camera_effects(scene.reduce(SUPERSAMPLE), rng, size)


def choose_colours(kind: str, rng: np.random.Generator) -> FlowerColours:
    """Draw the colours of one flower from the palette, with more weight on the class's natural ones."""
    names = list(PALETTE)
    weights = np.array([NATURAL_WEIGHT if name in NATURAL[kind] else 1.0 for name in names])
    first, second = rng.choice(len(names), 2, p=weights / weights.sum())
    blend = rng.uniform(0, 0.25)
    petal = mix(np.array(PALETTE[names[first]], float), np.array(PALETTE[names[second]], float), blend)
    heart = np.array(HEARTS[rng.integers(len(HEARTS))], float)
    leaf = np.array([rng.uniform(50, 110), rng.uniform(100, 150), rng.uniform(40, 80)])
    return FlowerColours(*(np.clip(colour + rng.normal(0, 10, 3), 0, 255) for colour in (petal, heart, leaf)))


def draw_plant(
    kind: str,
    scene: Image.Image,
    rng: np.random.Generator,
    colours: FlowerColours,
    light: float,
    *,
    reach: float,
    off: tuple[float, float],
) -> None:
    """Draw one flower into the scene.

    `reach` is its half width as a share of half the shorter side; `off` is the range of its distance from the centre,
    as a share of each side; `light` is a direction in radians.
    """
    width, height = scene.size
    scale = reach * min(width, height) / 2
    x, y = (0.5 + rng.choice((-1, 1), 2) * rng.uniform(*off, 2)) * scene.size
    draw = ImageDraw.Draw(scene)
    upright = kind == "tulip"
    stem = Pose((x, y + (0.55 * scale if upright else 0)), scale, rng.normal(0, 0.22))
    if upright or rng.random() < 0.55:
        length = max(1.2, (height - y) / scale)
        draw_stem(Brush(draw, stem, rng, light), colours.leaf, length, int(rng.integers(0, 4)))
    squash = rng.uniform(0.8, 1.0) if upright else rng.uniform(0.68, 1.0)
    angle = stem.angle if upright else rng.uniform(0, 2 * np.pi)
    pose = Pose(stem.centre, scale, angle, squash, rng.uniform(0, np.pi), rng.normal(0, 0.07))
    DRAW_FLOWER[kind](Brush(draw, pose, rng, light), colours)


def draw_stem(brush: Brush, colour: Array, length: float, leaves: int, width: float = 0.06) -> None:
    """Draw a bent stem of `length` from the origin downwards, with `leaves` pointed leaves along it."""
    down = np.linspace(0, 1, 9)
    sway = brush.rng.normal(0, 0.22)
    line = np.stack([sway * down**2, down * length], axis=1)
    brush.stroke(line, shade(colour, 0.75), width * 1.5)
    brush.stroke(line - [width * 0.2, 0], colour, width)
    for number in range(leaves):
        side = 1 if number % 2 else -1
        foot = line[-1] * brush.rng.uniform(0.65, 1.0)
        reach = brush.rng.uniform(0.9, 1.5)
        leaf = petal_outline(0, reach, brush.rng.uniform(0.1, 0.19), 0.7, 1.1, side * brush.rng.uniform(0.1, 0.35))
        turned = leaf @ rotation(UP + side * brush.rng.uniform(0.2, 0.65)).T + foot
        tone = shade(colour, float(brush.rng.uniform(0.75, 1.15)))
        brush.fill(turned, shade(tone, 0.75))
        brush.fill(shrink(turned, 0.85), tone)
