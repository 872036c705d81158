"""A generated flower set: five classes told apart by shape, in shared colours, lights, poses and backgrounds.

The set stands in for photographs where none may be had: each class may wear every colour of the palette, so a
colour histogram does not suffice, and a picture depends on nothing but (seed, class, index, size).
"""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from flowerml.data.synthetic.flower_shapes import (
    DRAWERS,
    UP,
    Array,
    Brush,
    Pose,
    Tints,
    blade,
    mix,
    paint,
    rotation,
    shade,
    shrunk,
)
from flowerml.files import write_bytes

CLASSES: tuple[str, ...] = tuple(DRAWERS)
SMALLEST = 32
SUPERSAMPLE = 3
JPEG_QUALITY = 90

PALETTE: dict[str, tuple[int, int, int]] = {
    "white": (240, 238, 230),
    "yellow": (242, 205, 40),
    "red": (200, 30, 42),
    "pink": (238, 140, 175),
    "orange": (240, 130, 35),
    "purple": (140, 75, 175),
}
# A class's natural colours are somewhat likelier, never certain: the classifier has to look at the shape.
NATURAL: dict[str, tuple[str, ...]] = {
    "daisy": ("white", "pink"),
    "dandelion": ("yellow", "white"),
    "rose": ("red", "pink"),
    "sunflower": ("yellow", "orange"),
    "tulip": ("red", "purple"),
}
NATURAL_WEIGHT = 2.0
HEARTS = ((225, 175, 40), (120, 75, 35), (60, 40, 30), (120, 130, 50), (200, 120, 40))
GROUNDS = {
    "grass": ((95, 140, 60), (45, 85, 35)),
    "sky": ((120, 170, 225), (205, 222, 235)),
    "soil": ((125, 95, 70), (70, 52, 40)),
    "dusk": ((205, 150, 140), (90, 80, 120)),
    "shade": ((40, 60, 45), (20, 28, 28)),
    "wall": ((200, 192, 175), (150, 145, 140)),
}


def make_flowers(
    root: Path, per_class: int, size: int = 160, seed: int = 11, on_image: Callable[[Path], None] | None = None
) -> list[Path]:
    """Write ``per_class`` JPEGs of every class as ``root/<class>/<class>_0000.jpg`` and so on; return them in order.

    ``size`` is the typical side in pixels; sides vary about it. ``on_image`` is called with each path once the file
    is whole. The same arguments give the same bytes (under the same Pillow and numpy), and a larger ``per_class``
    only adds files.

    Raises:
        ValueError: ``per_class`` is below 1 or ``size`` below 32.
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


def keyed_rng(seed: int, kind: str, index: int, size: int) -> np.random.Generator:
    """Return the random numbers of one picture; a digest keys them, for Python's own hash differs between runs."""
    digest = hashlib.sha256(f"{seed}/{kind}/{index}/{size}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def draw_flower(kind: str, rng: np.random.Generator, size: int) -> Image.Image:
    """Draw one RGB picture of the class ``kind``; each side is 0.85 to 1.25 times ``size`` pixels.

    Raises:
        ValueError: ``kind`` is not one of ``CLASSES`` or ``size`` is below 32.
    """
    if kind not in DRAWERS:
        raise ValueError(f"unknown flower {kind!r}; the flowers are {', '.join(CLASSES)}")
    if size < SMALLEST:
        raise ValueError(f"size must be at least {SMALLEST} pixels, not {size}")
    width, height = (round(size * side) for side in rng.uniform(0.85, 1.25, 2))
    scene = background(rng, width, height).resize(
        (width * SUPERSAMPLE, height * SUPERSAMPLE), Image.Resampling.BILINEAR
    )
    tints = choose_tints(kind, rng)
    light = float(rng.uniform(0, 2 * np.pi))
    if rng.random() < 0.25:
        plant(kind, scene, rng, tints, light, reach=rng.uniform(0.3, 0.5), off=(0.26, 0.38))
    plant(kind, scene, rng, tints, light, reach=rng.uniform(0.7, 1.02), off=(0.0, 0.09))
    return develop(scene.reduce(SUPERSAMPLE), rng, size)


def choose_tints(kind: str, rng: np.random.Generator) -> Tints:
    """Draw the colours of one flower: any of the palette, the class's natural ones being somewhat likelier."""
    names = list(PALETTE)
    weights = np.array([NATURAL_WEIGHT if name in NATURAL[kind] else 1.0 for name in names])
    first, second = rng.choice(len(names), 2, p=weights / weights.sum())
    blend = rng.uniform(0, 0.25)
    petal = mix(np.array(PALETTE[names[first]], float), np.array(PALETTE[names[second]], float), blend)
    heart = np.array(HEARTS[rng.integers(len(HEARTS))], float)
    leaf = np.array([rng.uniform(50, 110), rng.uniform(100, 150), rng.uniform(40, 80)])
    return Tints(*(np.clip(colour + rng.normal(0, 10, 3), 0, 255) for colour in (petal, heart, leaf)))


def plant(
    kind: str,
    scene: Image.Image,
    rng: np.random.Generator,
    tints: Tints,
    light: float,
    *,
    reach: float,
    off: tuple[float, float],
) -> None:
    """Draw one flower into the scene.

    ``reach`` is its half width as a share of half the shorter side; ``off`` bounds, from and to, how far from the
    middle it stands, as a share of each side; ``light`` is a direction in radians.
    """
    width, height = scene.size
    scale = reach * min(width, height) / 2
    x, y = (0.5 + rng.choice((-1, 1), 2) * rng.uniform(*off, 2)) * scene.size
    draw = ImageDraw.Draw(scene)
    upright = kind == "tulip"
    stem = Pose((x, y + (0.55 * scale if upright else 0)), scale, rng.normal(0, 0.22))
    if upright or rng.random() < 0.55:
        length = max(1.2, (height - y) / scale)
        stalk(Brush(draw, stem, rng, light), tints.leaf, length, int(rng.integers(0, 4)))
    squash = rng.uniform(0.8, 1.0) if upright else rng.uniform(0.68, 1.0)
    angle = stem.angle if upright else rng.uniform(0, 2 * np.pi)
    pose = Pose(stem.centre, scale, angle, squash, rng.uniform(0, np.pi), rng.normal(0, 0.07))
    DRAWERS[kind](Brush(draw, pose, rng, light), tints)


def stalk(brush: Brush, colour: Array, length: float, leaves: int, width: float = 0.06) -> None:
    """Draw a bent stem from the origin downwards, ``length`` long, with ``leaves`` lance-shaped leaves along it."""
    down = np.linspace(0, 1, 9)
    sway = brush.rng.normal(0, 0.22)
    line = np.stack([sway * down**2, down * length], axis=1)
    brush.stroke(line, shade(colour, 0.75), width * 1.5)
    brush.stroke(line - [width * 0.2, 0], colour, width)
    for number in range(leaves):
        side = 1 if number % 2 else -1
        foot = line[-1] * brush.rng.uniform(0.65, 1.0)
        reach = brush.rng.uniform(0.9, 1.5)
        leaf = blade(0, reach, brush.rng.uniform(0.1, 0.19), 0.7, 1.1, side * brush.rng.uniform(0.1, 0.35))
        turned = leaf @ rotation(UP + side * brush.rng.uniform(0.2, 0.65)).T + foot
        tone = shade(colour, float(brush.rng.uniform(0.75, 1.15)))
        brush.fill(turned, shade(tone, 0.75))
        brush.fill(shrunk(turned, 0.85), tone)


def background(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Draw what is behind the flower: a slanted gradient, clutter upon it, more or less out of focus."""
    names = list(GROUNDS)
    above, below = (
        np.clip(np.array(GROUNDS[names[rng.integers(len(names))]][end], float) + rng.normal(0, 14, 3), 0, 255)
        for end in (0, 1)
    )
    slope = ramp(rng, width, height)[..., None]
    scene = Image.fromarray((above * (1 - slope) + below * slope).astype(np.uint8))
    draw = ImageDraw.Draw(scene)
    tones = (above, below, np.array([80.0, 125.0, 55.0]), np.array(list(PALETTE.values())[rng.integers(6)], float))
    clutter = (blades, leaves, discs, clods)[rng.integers(4)]
    clutter(rng, draw, tones, (width, height))
    if rng.random() < 0.4:
        leaves(rng, draw, tones[:3], (width, height))
    blur = rng.uniform(1.2, 5.0) * min(width, height) / 160
    return scene.filter(ImageFilter.GaussianBlur(blur))


def ramp(rng: np.random.Generator, width: int, height: int) -> Array:
    """Return a straight 0..1 gradient in a random direction, shape (height, width)."""
    turn = rng.uniform(0, 2 * np.pi)
    slope = np.linspace(-1, 1, width)[None] * np.cos(turn) + np.linspace(-1, 1, height)[:, None] * np.sin(turn)
    return (slope - slope.min()) / np.ptp(slope)


Tones = tuple[Array, ...]


def tone_of(rng: np.random.Generator, tones: Tones) -> tuple[int, int, int]:
    """Return one of the tones, brighter or darker, as Pillow wants it."""
    return paint(shade(tones[rng.integers(len(tones))], float(rng.uniform(0.65, 1.35))))


def blades(rng: np.random.Generator, draw: ImageDraw.ImageDraw, tones: Tones, size: tuple[int, int]) -> None:
    """Draw blades of grass that rise from the lower edge of a canvas of ``size`` (width, height) pixels."""
    width, height = size
    for _ in range(rng.integers(20, 70)):
        foot, lift = rng.uniform(0, width), height * rng.uniform(0.2, 1.0)
        tip = foot + rng.normal(0, 0.15) * width
        draw.line([foot, height, (foot + tip) / 2, height - lift * 0.6, tip, height - lift], tone_of(rng, tones), 2)


def leaves(rng: np.random.Generator, draw: ImageDraw.ImageDraw, tones: Tones, size: tuple[int, int]) -> None:
    """Scatter pointed leaves over a canvas of ``size`` (width, height) pixels."""
    for _ in range(rng.integers(4, 15)):
        outline = blade(0, 1, rng.uniform(0.15, 0.35), 0.7, 0.9) @ rotation(rng.uniform(0, 6.3)).T
        placed = outline * min(size) * rng.uniform(0.15, 0.45) + rng.uniform(0, 1, 2) * size
        draw.polygon(placed.ravel().tolist(), fill=tone_of(rng, tones))


def discs(rng: np.random.Generator, draw: ImageDraw.ImageDraw, tones: Tones, size: tuple[int, int]) -> None:
    """Scatter the discs of light of a far-off background over a canvas of ``size`` (width, height) pixels."""
    for _ in range(rng.integers(6, 26)):
        x, y = rng.uniform(0, 1, 2) * size
        draw.circle((x, y), min(size) * rng.uniform(0.03, 0.16), fill=tone_of(rng, tones))


def clods(rng: np.random.Generator, draw: ImageDraw.ImageDraw, tones: Tones, size: tuple[int, int]) -> None:
    """Strew small clods over a canvas of ``size`` (width, height) pixels."""
    for _ in range(rng.integers(60, 200)):
        x, y = rng.uniform(0, 1, 2) * size
        draw.circle((x, y), min(size) * rng.uniform(0.006, 0.035), fill=tone_of(rng, tones))


def develop(picture: Image.Image, rng: np.random.Generator, size: int) -> Image.Image:
    """Return the picture as a camera might take it: focus, shading, vignette, cast, contrast, exposure and noise."""
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.1) * size / 160))
    pixels = np.asarray(picture, np.float32)
    height, width = pixels.shape[:2]
    shading = 1 + rng.uniform(0, 0.35) * (ramp(rng, width, height) - 0.5)
    far = np.linspace(-1, 1, width)[None] ** 2 + np.linspace(-1, 1, height)[:, None] ** 2
    shading *= 1 - rng.uniform(0, 0.22) * far
    cast = rng.uniform(0.7, 1.25) * rng.normal(1, 0.07, 3)
    pixels = pixels * shading[..., None].astype(np.float32) * cast.astype(np.float32)
    pixels = (pixels - 110) * np.float32(rng.uniform(0.7, 1.25)) + 110
    grain = rng.standard_normal(pixels.shape, np.float32) * np.float32(rng.uniform(1, 9))
    return Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))
