"""How two things are placed so that a relation holds between them: one function for each of the ten.

What a relation is called hangs on the object too, as in photographs: beside a container one is `outside` it, beside a
post `left of` or `right of` it, beside anything else `next to` or `near` it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flowerml.data.relations.records import Box

SMALL = ("cup", "cube", "star", "cat", "bottle")
FLOATING = ("cloud", "balloon", "bird")
POSTS = ("sign", "flag", "lamp")
HOLLOW = ("crate", "hoop", "cage")
MASSIVE = ("house", "bush", "stone")
FLAT = ("table", "stool", "pedestal")


@dataclass(frozen=True)
class Placed:
    """Two things in a panel: what they are, and their boxes. The unit is the panel's height; x runs from 0 to the
    panel's width.
    """

    subject: str
    subject_box: Box
    object: str
    object_box: Box


def _pick(rng: np.random.Generator, *kinds: str) -> str:
    return kinds[int(rng.integers(len(kinds)))]


def _standing(rng: np.random.Generator, width: float, across: tuple[float, float], tall: tuple[float, float]) -> Box:
    """A box on the ground, somewhere in a panel of this width."""
    w, h = rng.uniform(*across), rng.uniform(*tall)
    x, ground = rng.uniform(0.02, width - w - 0.02), rng.uniform(0.86, 0.98)
    return Box(x, ground - h, x + w, ground)


def _on(rng: np.random.Generator, width: float) -> Placed:
    """It stands on the top of something flat, or is stuck to a board."""
    if rng.random() < 0.3:
        board = _standing(rng, width, (0.45, 0.65), (0.5, 0.75))
        return Placed(_pick(rng, *SMALL), _within(rng, board, 0.1), "board", board)
    holder = _standing(rng, width, (0.4, 0.65), (0.35, 0.5))
    w, h = rng.uniform(0.15, 0.28, 2)
    x = rng.uniform(holder.x0, holder.x1 - w)
    foot = (
        holder.y0 + rng.uniform(0.02, 0.2) * holder.height
    )  # tops are seen from a little above: one stands within them
    return Placed(_pick(rng, *SMALL), Box(x, foot - h, x + w, foot), _pick(rng, *FLAT), holder)


def _above(rng: np.random.Generator, width: float) -> Placed:
    """It floats over something, touching nothing; it may be seen in front of its upper edge."""
    below = _standing(rng, width, (0.35, 0.6), (0.3, 0.45))
    w, h = rng.uniform(0.18, 0.32), rng.uniform(0.13, 0.25)
    x = rng.uniform(max(0.0, below.x0 - 0.1), min(width, below.x1 + 0.1) - w)
    foot = below.y0 + rng.uniform(-0.2, 0.06)
    return Placed(_pick(rng, *FLOATING), Box(x, max(0.01, foot - h), x + w, foot), _pick(rng, *FLAT, *MASSIVE), below)


def _under(rng: np.random.Generator, width: float) -> Placed:
    """It stands between the legs of a table or a stool, or by the pole of an umbrella: something spans over it."""
    kind = _pick(rng, "table", "umbrella")
    shelter = _standing(rng, width, (0.5, 0.75), (0.5, 0.75))
    h = rng.uniform(0.35, 0.55) * shelter.height
    w = rng.uniform(0.2, 0.35) * shelter.width
    x = rng.uniform(shelter.x0 + 0.08 * shelter.width, shelter.x1 - 0.08 * shelter.width - w)
    foot = shelter.y1 - rng.uniform(0.0, 0.08) * shelter.height
    return Placed(_pick(rng, *SMALL), Box(x, foot - h, x + w, foot), kind, shelter)


def _below(rng: np.random.Generator, width: float) -> Placed:
    """It is lower than something that floats free, and not covered by it."""
    low = _standing(rng, width, (0.18, 0.32), (0.18, 0.32))
    w, h = rng.uniform(0.25, 0.45), rng.uniform(0.2, 0.35)
    x = rng.uniform(max(0.0, low.x0 - w + 0.08), min(width, low.x1 + w - 0.08) - w)
    foot = low.y0 - rng.uniform(-0.04, 0.2)
    return Placed(_pick(rng, *SMALL), low, _pick(rng, *FLOATING), Box(x, max(0.01, foot - h), x + w, foot))


def _inside(rng: np.random.Generator, width: float) -> Placed:
    """It is within a hollow thing on all sides."""
    hollow = _standing(rng, width, (0.45, 0.7), (0.45, 0.75))
    return Placed(_pick(rng, *SMALL), _within(rng, hollow, 0.14), _pick(rng, *HOLLOW), hollow)


def _outside(rng: np.random.Generator, width: float) -> Placed:
    """It is beside a hollow thing, near or far."""
    return _beside(rng, width, _pick(rng, *HOLLOW), rng.uniform(0.02, 0.5), _pick(rng, "left", "right"))


def _left_of(rng: np.random.Generator, width: float) -> Placed:
    return _beside(rng, width, _pick(rng, *POSTS), rng.uniform(0.02, 0.5), "left")


def _right_of(rng: np.random.Generator, width: float) -> Placed:
    return _beside(rng, width, _pick(rng, *POSTS), rng.uniform(0.02, 0.5), "right")


def _next_to(rng: np.random.Generator, width: float) -> Placed:
    """Beside something that is neither container nor post, with hardly a gap."""
    return _beside(rng, width, _pick(rng, *FLAT, *MASSIVE), rng.uniform(0.0, 0.06), _pick(rng, "left", "right"))


def _near(rng: np.random.Generator, width: float) -> Placed:
    """The same with a clear gap, wider than the subject."""
    return _beside(rng, width, _pick(rng, *FLAT, *MASSIVE), rng.uniform(0.35, 0.5), _pick(rng, "left", "right"))


ARRANGED: dict[str, Callable[[np.random.Generator, float], Placed]] = {
    **{"on": _on, "under": _under, "above": _above, "below": _below, "left of": _left_of, "right of": _right_of},
    **{"near": _near, "next to": _next_to, "inside": _inside, "outside": _outside},
}
"""A panel's width (in heights) to two things of which the relation holds."""


def _within(rng: np.random.Generator, frame: Box, margin: float) -> Box:
    """A box inside another, no nearer to its edges than `margin` of them."""
    w, h = rng.uniform(0.25, 0.45) * frame.width, rng.uniform(0.25, 0.45) * frame.height
    x = rng.uniform(frame.x0 + margin * frame.width, frame.x1 - margin * frame.width - w)
    y = rng.uniform(frame.y0 + margin * frame.height, frame.y1 - margin * frame.height - h)
    return Box(x, y, x + w, y + h)


def _beside(rng: np.random.Generator, width: float, kind: str, gap: float, side: str) -> Placed:
    """A small thing on one side of another, both on the ground or nearly so; `gap` in heights."""
    small, large = rng.uniform(0.14, 0.24, 2), rng.uniform(0.24, 0.4, 2)
    start = rng.uniform(0.0, width - small[0] - large[0] - gap)
    ground = rng.uniform(0.86, 0.98, 2)
    first, second = (small, large) if side == "left" else (large, small)
    boxes = (
        Box(start, ground[0] - first[1], start + first[0], ground[0]),
        Box(start + first[0] + gap, ground[1] - second[1], start + first[0] + gap + second[0], ground[1]),
    )
    subject, other = boxes if side == "left" else (boxes[1], boxes[0])
    return Placed(_pick(rng, *SMALL), subject, kind, other)
