"""A generated data set of spatial relations, which hold by construction, with annotations in VRD's format.

It replaces photographs where there are none. Boxes alone do not separate all ten relations, because the relation also
depends on the object: beside a container is `outside`, beside a post `left of` or `right of`, beside anything else
`next to` or `near`; within the box of a hollow object is `inside`, of a board `on`, of a table `under`. Crops alone do
not either: left and right, near and next, inside and outside show the same objects. A picture depends only on (seed,
index, size).
"""

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from flowerml.data.relations.records import RELATIONS, Box, Pair
from flowerml.data.relations.vrd import write_vrd
from flowerml.data.synthetic.canvas import JPEG_QUALITY, apply_camera_effects, draw_background, keyed_rng
from flowerml.data.synthetic.scene_layout import PLACE_PAIR, Placement
from flowerml.data.synthetic.scene_shapes import DRAW_OBJECT, draw_object
from flowerml.files import write_bytes

EXPERIMENT_2_COUNTS = dict(zip(RELATIONS, (13103, 2911, 4977, 1743, 787, 654, 2411, 4115, 137, 38), strict=True))
"""Pairs of each relation in Experiment 2: the long-tailed distribution that a set can follow."""

MIN_SIZE = 64  # px
PART = "train"
_SUPERSAMPLE = 2  # pictures are drawn larger by this factor
_MIN_PER_RELATION = 5  # pairs of the rarest relation: enough for both sides of a split


def relation_counts(pairs: int, *, long_tail: bool) -> dict[str, int]:
    """Pairs of each relation in a set of about `pairs`: equal numbers, or the proportions of Experiment 2.

    Raises:
        ValueError: fewer than 20 pairs, too few for a split.
    """
    if pairs < 2 * len(RELATIONS):
        raise ValueError(f"pairs must be at least {2 * len(RELATIONS)}, not {pairs}")
    if not long_tail:
        return dict.fromkeys(RELATIONS, pairs // len(RELATIONS))
    total = sum(EXPERIMENT_2_COUNTS.values())
    return {name: max(_MIN_PER_RELATION, round(pairs * count / total)) for name, count in EXPERIMENT_2_COUNTS.items()}


def make_scenes(
    root: Path,
    counts: Mapping[str, int],
    size: int = 160,
    seed: int = 11,
    on_image: Callable[[int], None] | None = None,
) -> list[Pair]:
    """Draw scenes with `counts` pairs of each relation into `root`, with `annotations_train.json` beside them.

    `size` is the mean height of a picture in pixels; it has one to three pairs side by side. `on_image` is called with
    the number of pairs in each finished picture. Equal arguments give equal bytes (with the same Pillow and numpy).

    Raises:
        ValueError: `size` is below 64, or a relation is none of the ten.
        UserError: a file can't be written.
    """
    if size < MIN_SIZE or not {*counts} <= {*RELATIONS}:
        raise ValueError(f"size must be at least {MIN_SIZE}, and each relation one of {', '.join(RELATIONS)}")
    relations = [name for name, count in counts.items() for _ in range(count)]
    order = keyed_rng(seed, "order", len(relations), size)
    order.shuffle(relations)
    pairs: list[Pair] = []
    number = 0
    while relations:
        panel_count = int(order.integers(1, 4))
        panels, relations = relations[:panel_count], relations[panel_count:]
        name = f"scene_{number:05d}.jpg"
        picture, scene_pairs = draw_scene(name, panels, keyed_rng(seed, "scene", number, size), size)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
        write_bytes(root / name, buffer.getvalue())
        pairs += scene_pairs
        number += 1
        if on_image is not None:
            on_image(len(scene_pairs))
    write_vrd(root, PART, pairs)
    return pairs


def draw_scene(name: str, relations: list[str], rng: np.random.Generator, size: int) -> tuple[Image.Image, list[Pair]]:
    """One picture with a panel for each relation, and its pairs with boxes in whole pixels."""
    height = round(size * rng.uniform(0.9, 1.15))
    widths = [round(height * rng.uniform(1.15, 1.45)) for _ in relations]
    width = sum(widths)
    scene = draw_background(rng, width, height).resize(
        (width * _SUPERSAMPLE, height * _SUPERSAMPLE), Image.Resampling.BILINEAR
    )
    scene = scene.filter(ImageFilter.GaussianBlur(1.5 * _SUPERSAMPLE))
    pairs, left = [], 0
    for relation, across in zip(relations, widths, strict=True):
        placement = PLACE_PAIR[relation](rng, across / height)
        _draw_clutter(scene, rng, left, across, height)
        _draw_pair(scene, rng, placement, left, height)
        subject, other = (
            _to_whole_pixels(box, left, height, (width, height))
            for box in (placement.subject_box, placement.object_box)
        )
        pairs.append(Pair(name, width, height, subject, other, relation, placement.subject, placement.object))
        left += across
    _draw_occluders(scene, rng, pairs)
    return apply_camera_effects(scene.reduce(_SUPERSAMPLE), rng, size), pairs


def _draw_pair(scene: Image.Image, rng: np.random.Generator, placement: Placement, left: int, height: int) -> None:
    draw = ImageDraw.Draw(scene)
    boxes = {
        name: _to_canvas(box, left, height)
        for name, box in (("subject", placement.subject_box), ("object", placement.object_box))
    }
    colour = draw_object(draw, placement.object, boxes["object"], rng)
    draw_object(draw, placement.subject, boxes["subject"], rng, except_colours=(colour,))
    if placement.object == "cage":  # the bars are in front of what is in the cage
        draw_object(draw, placement.object, boxes["object"], rng)


def _draw_clutter(scene: Image.Image, rng: np.random.Generator, left: int, across: int, height: int) -> None:
    """Draw small faint objects of any category in the background, which are in no pair."""
    layer = scene.copy()
    draw = ImageDraw.Draw(layer)
    for _ in range(int(rng.integers(0, 4))):
        edge = rng.uniform(0.1, 0.22)
        x, y = rng.uniform(0, across / height - edge), rng.uniform(0, 1 - edge)
        draw_object(
            draw, str(rng.choice(tuple(DRAW_OBJECT))), _to_canvas(Box(x, y, x + edge, y + edge), left, height), rng
        )
    scene.paste(Image.blend(scene, layer.filter(ImageFilter.GaussianBlur(_SUPERSAMPLE)), 0.45))


def _draw_occluders(scene: Image.Image, rng: np.random.Generator, pairs: list[Pair]) -> None:
    """Cover up to a third of every third object."""
    draw = ImageDraw.Draw(scene)
    for box in (box for pair in pairs for box in (pair.subject, pair.object)):
        if rng.random() > 0.33:
            continue
        share, side = rng.uniform(0.1, 0.33), int(rng.integers(0, 2))
        x0 = box.x0 if side == 0 else box.x1 - share * box.width
        cover = Box(x0, box.y0 + 0.3 * box.height, x0 + share * box.width, box.y1)
        draw_object(draw, "bush", Box(*(edge * _SUPERSAMPLE for edge in (cover.x0, cover.y0, cover.x1, cover.y1))), rng)


def _to_canvas(box: Box, left: int, height: int) -> Box:
    x0, y0, x1, y1 = (edge * height * _SUPERSAMPLE for edge in (box.x0, box.y0, box.x1, box.y1))
    return Box(x0 + left * _SUPERSAMPLE, y0, x1 + left * _SUPERSAMPLE, y1)


def _to_whole_pixels(box: Box, left: int, height: int, size: tuple[int, int]) -> Box:
    """The box in whole pixels of a picture of `size` (width, height), at least one pixel wide and high."""
    x0, x1 = (min(max(round(left + edge * height), 0), size[0]) for edge in (box.x0, box.x1))
    y0, y1 = (min(max(round(edge * height), 0), size[1]) for edge in (box.y0, box.y1))
    return Box(x0, y0, max(x1, x0 + 1), max(y1, y0 + 1))
