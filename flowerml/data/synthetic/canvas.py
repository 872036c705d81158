"""Backgrounds and camera effects shared by the generated flowers and scenes, and the random numbers of a picture."""

import hashlib

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from flowerml.data.synthetic.brush import Array, petal_outline, rotation, shade, to_rgb_ints

JPEG_QUALITY = 90

PALETTE: dict[str, tuple[int, int, int]] = {
    "white": (240, 238, 230),
    "yellow": (242, 205, 40),
    "red": (200, 30, 42),
    "pink": (238, 140, 175),
    "orange": (240, 130, 35),
    "purple": (140, 75, 175),
}
BACKGROUNDS = {
    "grass": ((95, 140, 60), (45, 85, 35)),
    "sky": ((120, 170, 225), (205, 222, 235)),
    "soil": ((125, 95, 70), (70, 52, 40)),
    "dusk": ((205, 150, 140), (90, 80, 120)),
    "shade": ((40, 60, 45), (20, 28, 28)),
    "wall": ((200, 192, 175), (150, 145, 140)),
}

Tones = tuple[Array, ...]


def keyed_rng(seed: int, kind: str, index: int, size: int) -> np.random.Generator:
    """Return the random generator of one picture, keyed by a digest (Python's hash differs between runs)."""
    digest = hashlib.sha256(f"{seed}/{kind}/{index}/{size}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def draw_background(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Draw a background of `width` x `height` pixels: a gradient with clutter on it, out of focus."""
    names = list(BACKGROUNDS)
    above, below = (
        np.clip(np.array(BACKGROUNDS[names[rng.integers(len(names))]][end], float) + rng.normal(0, 14, 3), 0, 255)
        for end in (0, 1)
    )
    slope = linear_gradient(rng, width, height)[..., None]
    scene = Image.fromarray((above * (1 - slope) + below * slope).astype(np.uint8))
    draw = ImageDraw.Draw(scene)
    tones = (above, below, np.array([80.0, 125.0, 55.0]), np.array(list(PALETTE.values())[rng.integers(6)], float))
    clutter = (draw_grass, draw_leaves, draw_bokeh, draw_soil)[rng.integers(4)]
    clutter(rng, draw, tones, (width, height))
    if rng.random() < 0.4:
        draw_leaves(rng, draw, tones[:3], (width, height))
    blur = rng.uniform(1.2, 5.0) * min(width, height) / 160
    return scene.filter(ImageFilter.GaussianBlur(blur))


def linear_gradient(rng: np.random.Generator, width: int, height: int) -> Array:
    """Return a linear gradient from 0 to 1 in a random direction, shape (height, width)."""
    turn = rng.uniform(0, 2 * np.pi)
    slope = np.linspace(-1, 1, width)[None] * np.cos(turn) + np.linspace(-1, 1, height)[:, None] * np.sin(turn)
    return (slope - slope.min()) / np.ptp(slope)


def random_tone(rng: np.random.Generator, tones: Tones) -> tuple[int, int, int]:
    """Return one of the tones, brighter or darker, as integers for Pillow."""
    return to_rgb_ints(shade(tones[rng.integers(len(tones))], float(rng.uniform(0.65, 1.35))))


def draw_grass(rng: np.random.Generator, draw: ImageDraw.ImageDraw, tones: Tones, size: tuple[int, int]) -> None:
    """Draw blades of grass from the lower edge of a canvas of `size` (width, height) pixels."""
    width, height = size
    for _ in range(rng.integers(20, 70)):
        foot, lift = rng.uniform(0, width), height * rng.uniform(0.2, 1.0)
        tip = foot + rng.normal(0, 0.15) * width
        draw.line([foot, height, (foot + tip) / 2, height - lift * 0.6, tip, height - lift], random_tone(rng, tones), 2)


def draw_leaves(rng: np.random.Generator, draw: ImageDraw.ImageDraw, tones: Tones, size: tuple[int, int]) -> None:
    """Scatter pointed leaves over a canvas of `size` (width, height) pixels."""
    for _ in range(rng.integers(4, 15)):
        outline = petal_outline(0, 1, rng.uniform(0.15, 0.35), 0.7, 0.9) @ rotation(rng.uniform(0, 6.3)).T
        placed = outline * min(size) * rng.uniform(0.15, 0.45) + rng.uniform(0, 1, 2) * size
        draw.polygon(placed.ravel().tolist(), fill=random_tone(rng, tones))


def draw_bokeh(rng: np.random.Generator, draw: ImageDraw.ImageDraw, tones: Tones, size: tuple[int, int]) -> None:
    """Scatter discs of light, as of a defocused background, over a canvas of `size` (width, height) pixels."""
    for _ in range(rng.integers(6, 26)):
        x, y = rng.uniform(0, 1, 2) * size
        draw.circle((x, y), min(size) * rng.uniform(0.03, 0.16), fill=random_tone(rng, tones))


def draw_soil(rng: np.random.Generator, draw: ImageDraw.ImageDraw, tones: Tones, size: tuple[int, int]) -> None:
    """Scatter small clods of soil over a canvas of `size` (width, height) pixels."""
    for _ in range(rng.integers(60, 200)):
        x, y = rng.uniform(0, 1, 2) * size
        draw.circle((x, y), min(size) * rng.uniform(0.006, 0.035), fill=random_tone(rng, tones))


def apply_camera_effects(picture: Image.Image, rng: np.random.Generator, size: int) -> Image.Image:
    """Return the picture with camera effects: focus, shading, vignette, colour cast, contrast, exposure and noise."""
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.1) * size / 160))
    pixels = np.asarray(picture, np.float32)
    height, width = pixels.shape[:2]
    shading = 1 + rng.uniform(0, 0.35) * (linear_gradient(rng, width, height) - 0.5)
    distance = np.linspace(-1, 1, width)[None] ** 2 + np.linspace(-1, 1, height)[:, None] ** 2
    shading *= 1 - rng.uniform(0, 0.22) * distance
    cast = rng.uniform(0.7, 1.25) * rng.normal(1, 0.07, 3)
    pixels = pixels * shading[..., None].astype(np.float32) * cast.astype(np.float32)
    pixels = (pixels - 110) * np.float32(rng.uniform(0.7, 1.25)) + 110
    grain = rng.standard_normal(pixels.shape, np.float32) * np.float32(rng.uniform(1, 9))
    return Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))
