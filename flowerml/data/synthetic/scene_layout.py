"""Placement of two objects so that a relation holds between them: one function for each of the ten relations.

The relation also depends on the object, as in photographs: beside a container is `outside`, beside a post `left of` or
`right of`, beside anything else `next to` or `near`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flowerml.data.relations.records import Box

SMALL = ("cup", "cube", "star", "cat", "bottle")
FLOATING = ("cloud", "balloon", "bird")
POSTS = ("sign", "flag", "lamp")
HOLLOW = ("crate", "hoop", "cage")
SOLID = ("house", "bush", "stone")
FLAT = ("table", "stool", "pedestal")


@dataclass(frozen=True)
class Placement:
    """Two objects of a panel: their categories and boxes, in units of the panel's height."""

    subject: str
    subject_box: Box
    object: str
    object_box: Box


def _choose(rng: np.random.Generator, *kinds: str) -> str:
    return kinds[int(rng.integers(len(kinds)))]


def _box_on_ground(
    rng: np.random.Generator, width: float, across: tuple[float, float], tall: tuple[float, float]
) -> Box:
    """A box on the ground of a panel of this width."""
    w, h = rng.uniform(*across), rng.uniform(*tall)
    x, ground = rng.uniform(0.02, width - w - 0.02), rng.uniform(0.86, 0.98)
    return Box(x, ground - h, x + w, ground)


def _place_on(rng: np.random.Generator, width: float) -> Placement:
    """The subject stands on top of a flat object, or is attached to a board."""
    if rng.random() < 0.3:
        board = _box_on_ground(rng, width, (0.45, 0.65), (0.5, 0.75))
        return Placement(_choose(rng, *SMALL), _box_inside(rng, board, 0.1), "board", board)
    holder = _box_on_ground(rng, width, (0.4, 0.65), (0.35, 0.5))
    w, h = rng.uniform(0.15, 0.28, 2)
    x = rng.uniform(holder.x0, holder.x1 - w)
    # Tops are seen from slightly above: the subject stands within them.
    foot = holder.y0 + rng.uniform(0.02, 0.2) * holder.height
    return Placement(_choose(rng, *SMALL), Box(x, foot - h, x + w, foot), _choose(rng, *FLAT), holder)


def _place_above(rng: np.random.Generator, width: float) -> Placement:
    """The subject floats over the object; it may overlap the object's upper edge."""
    below = _box_on_ground(rng, width, (0.35, 0.6), (0.3, 0.45))
    w, h = rng.uniform(0.18, 0.32), rng.uniform(0.13, 0.25)
    x = rng.uniform(max(0.0, below.x0 - 0.1), min(width, below.x1 + 0.1) - w)
    foot = below.y0 + rng.uniform(-0.2, 0.06)
    return Placement(
        _choose(rng, *FLOATING), Box(x, max(0.01, foot - h), x + w, foot), _choose(rng, *FLAT, *SOLID), below
    )


def _place_under(rng: np.random.Generator, width: float) -> Placement:
    """The subject stands between the legs of a table or by the pole of an umbrella."""
    kind = _choose(rng, "table", "umbrella")
    shelter = _box_on_ground(rng, width, (0.5, 0.75), (0.5, 0.75))
    h = rng.uniform(0.35, 0.55) * shelter.height
    w = rng.uniform(0.2, 0.35) * shelter.width
    x = rng.uniform(shelter.x0 + 0.08 * shelter.width, shelter.x1 - 0.08 * shelter.width - w)
    foot = shelter.y1 - rng.uniform(0.0, 0.08) * shelter.height
    return Placement(_choose(rng, *SMALL), Box(x, foot - h, x + w, foot), kind, shelter)


def _place_below(rng: np.random.Generator, width: float) -> Placement:
    """The subject is lower than a floating object, and not covered by it."""
    low = _box_on_ground(rng, width, (0.18, 0.32), (0.18, 0.32))
    w, h = rng.uniform(0.25, 0.45), rng.uniform(0.2, 0.35)
    x = rng.uniform(max(0.0, low.x0 - w + 0.08), min(width, low.x1 + w - 0.08) - w)
    foot = low.y0 - rng.uniform(-0.04, 0.2)
    return Placement(_choose(rng, *SMALL), low, _choose(rng, *FLOATING), Box(x, max(0.01, foot - h), x + w, foot))


def _place_inside(rng: np.random.Generator, width: float) -> Placement:
    """The subject is enclosed by a hollow object."""
    hollow = _box_on_ground(rng, width, (0.45, 0.7), (0.45, 0.75))
    return Placement(_choose(rng, *SMALL), _box_inside(rng, hollow, 0.14), _choose(rng, *HOLLOW), hollow)


def _place_outside(rng: np.random.Generator, width: float) -> Placement:
    """The subject is beside a hollow object, at any distance."""
    return _place_side_by_side(rng, width, _choose(rng, *HOLLOW), rng.uniform(0.02, 0.5), _choose(rng, "left", "right"))


def _place_left_of(rng: np.random.Generator, width: float) -> Placement:
    return _place_side_by_side(rng, width, _choose(rng, *POSTS), rng.uniform(0.02, 0.5), "left")


def _place_right_of(rng: np.random.Generator, width: float) -> Placement:
    return _place_side_by_side(rng, width, _choose(rng, *POSTS), rng.uniform(0.02, 0.5), "right")


def _place_next_to(rng: np.random.Generator, width: float) -> Placement:
    """The subject is beside an object that is neither container nor post, with almost no gap."""
    return _place_side_by_side(
        rng, width, _choose(rng, *FLAT, *SOLID), rng.uniform(0.0, 0.06), _choose(rng, "left", "right")
    )


def _place_near(rng: np.random.Generator, width: float) -> Placement:
    """As `next to` with a clear gap, wider than the subject."""
    return _place_side_by_side(
        rng, width, _choose(rng, *FLAT, *SOLID), rng.uniform(0.35, 0.5), _choose(rng, "left", "right")
    )


PLACE_PAIR: dict[str, Callable[[np.random.Generator, float], Placement]] = {
    **{
        "on": _place_on,
        "under": _place_under,
        "above": _place_above,
        "below": _place_below,
        "left of": _place_left_of,
        "right of": _place_right_of,
    },
    **{"near": _place_near, "next to": _place_next_to, "inside": _place_inside, "outside": _place_outside},
}
"""By relation: a function of (rng, width of the panel in heights) that places two objects."""


def _box_inside(rng: np.random.Generator, frame: Box, margin: float) -> Box:
    """A box inside `frame`, with a margin relative to its sides."""
    w, h = rng.uniform(0.25, 0.45) * frame.width, rng.uniform(0.25, 0.45) * frame.height
    x = rng.uniform(frame.x0 + margin * frame.width, frame.x1 - margin * frame.width - w)
    y = rng.uniform(frame.y0 + margin * frame.height, frame.y1 - margin * frame.height - h)
    return Box(x, y, x + w, y + h)


def _place_side_by_side(rng: np.random.Generator, width: float, kind: str, gap: float, side: str) -> Placement:
    """A small object on one side of another, both about on the ground; `gap` in heights."""
    small, large = rng.uniform(0.14, 0.24, 2), rng.uniform(0.24, 0.4, 2)
    start = rng.uniform(0.0, width - small[0] - large[0] - gap)
    ground = rng.uniform(0.86, 0.98, 2)
    first, second = (small, large) if side == "left" else (large, small)
    boxes = (
        Box(start, ground[0] - first[1], start + first[0], ground[0]),
        Box(start + first[0] + gap, ground[1] - second[1], start + first[0] + gap + second[0], ground[1]),
    )
    subject, other = boxes if side == "left" else (boxes[1], boxes[0])
    return Placement(_choose(rng, *SMALL), subject, kind, other)
