"""A generated set of spatial relations: things in scenes whose relation holds by construction, with annotations in
VRD's own form.

It stands in for photographs where none may be had. Boxes alone do not tell all ten relations apart, because what a
relation is called hangs on the things, as in photographs: beside a container one is `outside` it, beside a post `left
of` or `right of` it, beside anything else `next to` or `near` it; what lies within a box is `inside` a hollow thing,
`on` a board, `under` a table. Pictures alone do not either: left and right, near and next, inside and outside show the
same things. Nothing depends on anything but (seed, picture, edge).
"""

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from flowerml.data.relations.records import RELATIONS, Box, Pair
from flowerml.data.relations.vrd import write_vrd
from flowerml.data.synthetic.flowers import JPEG_QUALITY, background, develop, keyed_rng
from flowerml.data.synthetic.scene_layout import ARRANGED, Placed
from flowerml.data.synthetic.scene_shapes import DRAWN, draw_thing
from flowerml.files import write_bytes

USERS_COUNTS = dict(zip(RELATIONS, (13103, 2911, 4977, 1743, 787, 654, 2411, 4115, 137, 38), strict=True))
"""Pairs of each relation in the user's data: the long tail that a set can be given."""

SMALLEST = 64  # px
PART = "train"
_FINER = 2  # pictures are drawn this much larger
_LEAST_OF_A_TAIL = 5  # pairs of the rarest relation: enough for both sides of a split


def relation_counts(pairs: int, *, long_tail: bool) -> dict[str, int]:
    """How many pairs of each relation a set of about `pairs` has: equal numbers, or the proportions of the user's data.

    Raises:
        ValueError: fewer than 20 pairs, of which no split could be made.
    """
    if pairs < 2 * len(RELATIONS):
        raise ValueError(f"pairs must be at least {2 * len(RELATIONS)}, not {pairs}")
    if not long_tail:
        return dict.fromkeys(RELATIONS, pairs // len(RELATIONS))
    total = sum(USERS_COUNTS.values())
    return {name: max(_LEAST_OF_A_TAIL, round(pairs * count / total)) for name, count in USERS_COUNTS.items()}


def make_scenes(
    root: Path,
    counts: Mapping[str, int],
    size: int = 160,
    seed: int = 11,
    on_image: Callable[[int], None] | None = None,
) -> list[Pair]:
    """Draw scenes with so many pairs of each relation into `root`, and the annotations beside them
    (`annotations_train.json` and so on).

    `size` is a picture's height in pixels, about; one to three pairs stand side by side in it. `on_image` hears how
    many pairs a finished picture has. The same arguments give the same bytes (under the same Pillow and numpy).

    Raises:
        ValueError: `size` is below 64, or a relation is none of the ten.
        UserError: a file can't be written.
    """
    if size < SMALLEST or not {*counts} <= {*RELATIONS}:
        raise ValueError(f"size must be at least {SMALLEST}, and each relation one of {', '.join(RELATIONS)}")
    wanted = [name for name, count in counts.items() for _ in range(count)]
    order = keyed_rng(seed, "order", len(wanted), size)
    order.shuffle(wanted)
    pairs: list[Pair] = []
    number = 0
    while wanted:
        cut = int(order.integers(1, 4))
        panels, wanted = wanted[:cut], wanted[cut:]
        name = f"scene_{number:05d}.jpg"
        picture, made = draw_scene(name, panels, keyed_rng(seed, "scene", number, size), size)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
        write_bytes(root / name, buffer.getvalue())
        pairs += made
        number += 1
        if on_image is not None:
            on_image(len(made))
    write_vrd(root, PART, pairs)
    return pairs


def draw_scene(name: str, relations: list[str], rng: np.random.Generator, size: int) -> tuple[Image.Image, list[Pair]]:
    """One picture with a panel for each relation, and its pairs with boxes in whole pixels of it."""
    height = round(size * rng.uniform(0.9, 1.15))
    widths = [round(height * rng.uniform(1.15, 1.45)) for _ in relations]
    width = sum(widths)
    scene = background(rng, width, height).resize((width * _FINER, height * _FINER), Image.Resampling.BILINEAR)
    scene = scene.filter(ImageFilter.GaussianBlur(1.5 * _FINER))
    pairs, left = [], 0
    for relation, across in zip(relations, widths, strict=True):
        placed = ARRANGED[relation](rng, across / height)
        _clutter(scene, rng, left, across, height)
        _draw(scene, rng, placed, left, height)
        subject, other = (
            _pixels(box, left, height, (width, height)) for box in (placed.subject_box, placed.object_box)
        )
        pairs.append(Pair(name, width, height, subject, other, relation, placed.subject, placed.object))
        left += across
    _occlude(scene, rng, pairs)
    return develop(scene.reduce(_FINER), rng, size), pairs


def _draw(scene: Image.Image, rng: np.random.Generator, placed: Placed, left: int, height: int) -> None:
    draw = ImageDraw.Draw(scene)
    boxes = {
        name: _canvas(box, left, height)
        for name, box in (("subject", placed.subject_box), ("object", placed.object_box))
    }
    colour = draw_thing(draw, placed.object, boxes["object"], rng)
    draw_thing(draw, placed.subject, boxes["subject"], rng, not_like=(colour,))
    if placed.object == "cage":  # what is in a cage is behind its bars
        draw_thing(draw, placed.object, boxes["object"], rng)


def _clutter(scene: Image.Image, rng: np.random.Generator, left: int, across: int, height: int) -> None:
    """Small things of any kind in the back, faint and out of every relation."""
    layer = scene.copy()
    draw = ImageDraw.Draw(layer)
    for _ in range(int(rng.integers(0, 4))):
        edge = rng.uniform(0.1, 0.22)
        x, y = rng.uniform(0, across / height - edge), rng.uniform(0, 1 - edge)
        draw_thing(draw, str(rng.choice(tuple(DRAWN))), _canvas(Box(x, y, x + edge, y + edge), left, height), rng)
    scene.paste(Image.blend(scene, layer.filter(ImageFilter.GaussianBlur(_FINER)), 0.45))


def _occlude(scene: Image.Image, rng: np.random.Generator, pairs: list[Pair]) -> None:
    """In front of one thing in three something stands that hides up to a third of it."""
    draw = ImageDraw.Draw(scene)
    for box in (box for pair in pairs for box in (pair.subject, pair.object)):
        if rng.random() > 0.33:
            continue
        share, side = rng.uniform(0.1, 0.33), int(rng.integers(0, 2))
        x0 = box.x0 if side == 0 else box.x1 - share * box.width
        low = Box(x0, box.y0 + 0.3 * box.height, x0 + share * box.width, box.y1)
        draw_thing(draw, "bush", Box(*(edge * _FINER for edge in (low.x0, low.y0, low.x1, low.y1))), rng)


def _canvas(box: Box, left: int, height: int) -> Box:
    x0, y0, x1, y1 = (edge * height * _FINER for edge in (box.x0, box.y0, box.x1, box.y1))
    return Box(x0 + left * _FINER, y0, x1 + left * _FINER, y1)


def _pixels(box: Box, left: int, height: int, size: tuple[int, int]) -> Box:
    """In whole pixels of the picture, as an annotator would draw it."""
    x0, x1 = (min(max(round(left + edge * height), 0), size[0]) for edge in (box.x0, box.x1))
    y0, y1 = (min(max(round(edge * height), 0), size[1]) for edge in (box.y0, box.y1))
    return Box(x0, y0, max(x1, x0 + 1), max(y1, y0 + 1))
