"""What two boxes say about a relation, as numbers: the kinds of box features a run can choose, each with its source."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from flowerml.data.relations.records import Pair

_LEAST = 1e-6  # added where a logarithm or a division has no value at 0


class BoxFeatures(StrEnum):
    """The kinds."""

    SEED = "seed"  # offsets, distance, angle, areas, ratio: all by the image's size
    PUBLISHED = "published"  # offsets and log ratios by the boxes' sizes, aspects, IoU
    RICH = "rich"  # both, and how the edges lie to each other


@dataclass(frozen=True)
class _Boxes:
    """Columns (N,) of N pairs in pixels: edges, sizes and centres of subject (s) and object (o), width and height of
    the image.
    """

    s: np.ndarray  # (4, N): x0, y0, x1, y1
    o: np.ndarray
    image: np.ndarray  # (2, N)

    @property
    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """(2, N) each."""
        return (self.s[:2] + self.s[2:]) / 2, (self.o[:2] + self.o[2:]) / 2

    @property
    def sizes(self) -> tuple[np.ndarray, np.ndarray]:
        """(2, N) each: width, height."""
        return self.s[2:] - self.s[:2], self.o[2:] - self.o[:2]

    @property
    def shared(self) -> np.ndarray:
        """(2, N): what the boxes have in common along x and along y, in pixels; negative: the gap between them."""
        return np.minimum(self.s[2:], self.o[2:]) - np.maximum(self.s[:2], self.o[:2])


def feature_names(kind: BoxFeatures) -> tuple[str, ...]:
    """The names of the columns, in order."""
    return tuple(_columns(kind, _boxes([])))


def box_features(pairs: Sequence[Pair], kind: BoxFeatures) -> np.ndarray:
    """Box features (N, F) float32 of N pairs; F = len(feature_names(kind)).

    * seed (8): offset of the centres along x and y, their distance, sine and cosine of its direction, both areas, all
      by the image's size, and the logarithm of the areas' ratio. The kind of numbers that the user's experiment feeds
      its spatial encoder.
    * published (12): offsets by the other box's size and log ratios of widths and heights, both ways round (Zhang et
      al., "Visual Translation Embedding Network", CVPR 2017); offsets by the root of the subject's area, root of the
      areas' ratio, both aspects as logarithms, IoU (Peyre et al., "Weakly-supervised learning of visual relations",
      ICCV 2017).
    * rich (45): both; edges of the one box in units of the other, overlaps and gaps along each axis, shares of each box
      that lie in the other, place and size in the image.
    """
    columns = _columns(kind, _boxes(pairs))
    return np.stack(list(columns.values()), axis=1).astype(np.float32)


def _boxes(pairs: Sequence[Pair]) -> _Boxes:
    subject = (
        np.array([[box.x0, box.y0, box.x1, box.y1] for box in (pair.subject for pair in pairs)], dtype=np.float64)
        .reshape(-1, 4)
        .T
    )
    other = (
        np.array([[box.x0, box.y0, box.x1, box.y1] for box in (pair.object for pair in pairs)], dtype=np.float64)
        .reshape(-1, 4)
        .T
    )
    image = np.array([[pair.width, pair.height] for pair in pairs], dtype=np.float64).reshape(-1, 2).T
    return _Boxes(subject, other, image)


def _columns(kind: BoxFeatures, boxes: _Boxes) -> dict[str, np.ndarray]:
    made: dict[str, np.ndarray] = {}
    for part in _PARTS[kind]:
        made |= part(boxes)
    return made


def _seed(boxes: _Boxes) -> dict[str, np.ndarray]:
    (cs, co), (ss, so) = boxes.centres, boxes.sizes
    dx, dy = (co - cs) / boxes.image
    distance = np.hypot(dx, dy)
    areas = [size.prod(axis=0) / boxes.image.prod(axis=0) for size in (ss, so)]
    return {
        "offset x": dx,
        "offset y": dy,
        "distance": distance,
        "sine": dy / (distance + _LEAST),
        "cosine": dx / (distance + _LEAST),
        "subject area": areas[0],
        "object area": areas[1],
        "log area ratio": np.log((areas[0] + _LEAST) / (areas[1] + _LEAST)),
    }


def _published(boxes: _Boxes) -> dict[str, np.ndarray]:
    (cs, co), (ss, so) = boxes.centres, boxes.sizes
    area_s, area_o = ss.prod(axis=0), so.prod(axis=0)
    common = np.maximum(boxes.shared, 0).prod(axis=0)
    made: dict[str, np.ndarray] = {}
    for place, axis in enumerate("xy"):
        made[f"offset {axis} by object"] = (cs - co)[place] / so[place]
        made[f"offset {axis} by subject"] = (co - cs)[place] / ss[place]
        made[f"offset {axis} by root area"] = (co - cs)[place] / np.sqrt(area_s)
        made[f"log ratio {axis}"] = np.log(ss[place] / so[place])
    made["root area ratio"] = np.sqrt(area_o / area_s)
    made["subject aspect"], made["object aspect"] = np.log(ss[0] / ss[1]), np.log(so[0] / so[1])
    made["IoU"] = common / (area_s + area_o - common)
    return made


def _rich(boxes: _Boxes) -> dict[str, np.ndarray]:
    (ss, so), (cs, co) = boxes.sizes, boxes.centres
    inside = np.maximum(boxes.shared, 0).prod(axis=0)
    made = {"subject in object": inside / ss.prod(axis=0), "object in subject": inside / so.prod(axis=0)}
    for place, axis in enumerate("xy"):
        least = np.minimum(ss[place], so[place])
        made[f"shared {axis}"] = boxes.shared[place] / least
        made[f"shared {axis} by image"] = boxes.shared[place] / boxes.image[place]
        made[f"angle {axis}"] = np.arctan2((co - cs)[place], (ss + so)[place] / 2)
        for edge, row in (("0", place), ("1", place + 2)):
            made[f"subject {axis}{edge} in object"] = _squash((boxes.s[row] - boxes.o[place]) / so[place])
            made[f"object {axis}{edge} in subject"] = _squash((boxes.o[row] - boxes.s[place]) / ss[place])
            made[f"subject {axis}{edge} in image"] = boxes.s[row] / boxes.image[place]
            made[f"object {axis}{edge} in image"] = boxes.o[row] / boxes.image[place]
    made["direction"] = np.arctan2((co - cs)[1], (co - cs)[0])
    return made


def _squash(values: np.ndarray) -> np.ndarray:
    """Signed logarithm: a tiny box in a unit of itself sees the other's edges at hundreds."""
    return np.sign(values) * np.log1p(np.abs(values))


_PARTS: dict[BoxFeatures, tuple[Callable[[_Boxes], dict[str, np.ndarray]], ...]] = {
    BoxFeatures.SEED: (_seed,),
    BoxFeatures.PUBLISHED: (_published,),
    BoxFeatures.RICH: (_seed, _published, _rich),
}
