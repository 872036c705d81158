"""Box features of a pair: the kinds that a run can choose, each with its source."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from flowerml.data.relations.records import Pair

_EPS = 1e-6  # keeps logarithms and divisions finite at 0


class BoxFeatures(StrEnum):
    """The kinds of box features."""

    SEED = "seed"  # offsets, distance, angle, areas, ratio: all by the image's size
    PUBLISHED = "published"  # offsets and log ratios by the boxes' sizes, aspects, IoU
    RICH = "rich"  # both, and edges relative to each other


@dataclass(frozen=True)
class _Boxes:
    """Boxes of N pairs in pixels, subject (s) and object (o), with the width and height of their images."""

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
    def overlap(self) -> np.ndarray:
        """(2, N): overlap of the boxes along x and y in pixels; a negative overlap is a gap."""
        return np.minimum(self.s[2:], self.o[2:]) - np.maximum(self.s[:2], self.o[:2])


def feature_names(kind: BoxFeatures) -> tuple[str, ...]:
    """The names of the columns, in order."""
    return tuple(_feature_columns(kind, _to_arrays([])))


def box_features(pairs: Sequence[Pair], kind: BoxFeatures) -> np.ndarray:
    """Box features (N, F) float32 of N pairs; F = len(feature_names(kind)).

    * seed (8): offset of the centres along x and y, their distance, sine and cosine of its direction, both areas, all
      relative to the image's size, and the logarithm of the areas' ratio: the input of Experiment 2's spatial
      encoder.
    * published (12): offsets by the other box's size and log ratios of widths and heights, both ways round (Zhang et
      al., "Visual Translation Embedding Network", CVPR 2017); offsets by the root of the subject's area, root of the
      areas' ratio, both aspects as logarithms, IoU (Peyre et al., "Weakly-supervised learning of visual relations",
      ICCV 2017).
    * rich (45): both; edges of each box in units of the other, overlaps and gaps along each axis, shares of each box
      that lie in the other, position and size in the image.
    """
    columns = _feature_columns(kind, _to_arrays(pairs))
    return np.stack(list(columns.values()), axis=1).astype(np.float32)


def _to_arrays(pairs: Sequence[Pair]) -> _Boxes:
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


def _feature_columns(kind: BoxFeatures, boxes: _Boxes) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = {}
    for part in _FEATURE_FUNCTIONS[kind]:
        columns |= part(boxes)
    return columns


def _seed_features(boxes: _Boxes) -> dict[str, np.ndarray]:
    (cs, co), (ss, so) = boxes.centres, boxes.sizes
    dx, dy = (co - cs) / boxes.image
    distance = np.hypot(dx, dy)
    areas = [size.prod(axis=0) / boxes.image.prod(axis=0) for size in (ss, so)]
    return {
        "offset x": dx,
        "offset y": dy,
        "distance": distance,
        "sine": dy / (distance + _EPS),
        "cosine": dx / (distance + _EPS),
        "subject area": areas[0],
        "object area": areas[1],
        "log area ratio": np.log((areas[0] + _EPS) / (areas[1] + _EPS)),
    }


def _published_features(boxes: _Boxes) -> dict[str, np.ndarray]:
    (cs, co), (ss, so) = boxes.centres, boxes.sizes
    area_s, area_o = ss.prod(axis=0), so.prod(axis=0)
    intersection = np.maximum(boxes.overlap, 0).prod(axis=0)
    columns: dict[str, np.ndarray] = {}
    for dim, axis in enumerate("xy"):
        columns[f"offset {axis} by object"] = (cs - co)[dim] / so[dim]
        columns[f"offset {axis} by subject"] = (co - cs)[dim] / ss[dim]
        columns[f"offset {axis} by root area"] = (co - cs)[dim] / np.sqrt(area_s)
        columns[f"log ratio {axis}"] = np.log(ss[dim] / so[dim])
    columns["root area ratio"] = np.sqrt(area_o / area_s)
    columns["subject aspect"], columns["object aspect"] = np.log(ss[0] / ss[1]), np.log(so[0] / so[1])
    columns["IoU"] = intersection / (area_s + area_o - intersection)
    return columns


def _rich_features(boxes: _Boxes) -> dict[str, np.ndarray]:
    (ss, so), (cs, co) = boxes.sizes, boxes.centres
    intersection = np.maximum(boxes.overlap, 0).prod(axis=0)
    columns = {"subject in object": intersection / ss.prod(axis=0), "object in subject": intersection / so.prod(axis=0)}
    for dim, axis in enumerate("xy"):
        smaller = np.minimum(ss[dim], so[dim])
        columns[f"shared {axis}"] = boxes.overlap[dim] / smaller
        columns[f"shared {axis} by image"] = boxes.overlap[dim] / boxes.image[dim]
        columns[f"angle {axis}"] = np.arctan2((co - cs)[dim], (ss + so)[dim] / 2)
        for edge, row in (("0", dim), ("1", dim + 2)):
            columns[f"subject {axis}{edge} in object"] = _signed_log((boxes.s[row] - boxes.o[dim]) / so[dim])
            columns[f"object {axis}{edge} in subject"] = _signed_log((boxes.o[row] - boxes.s[dim]) / ss[dim])
            columns[f"subject {axis}{edge} in image"] = boxes.s[row] / boxes.image[dim]
            columns[f"object {axis}{edge} in image"] = boxes.o[row] / boxes.image[dim]
    columns["direction"] = np.arctan2((co - cs)[1], (co - cs)[0])
    return columns


def _signed_log(values: np.ndarray) -> np.ndarray:
    """Signed logarithm: in units of a tiny box the other's edges lie in the hundreds."""
    return np.sign(values) * np.log1p(np.abs(values))


_FEATURE_FUNCTIONS: dict[BoxFeatures, tuple[Callable[[_Boxes], dict[str, np.ndarray]], ...]] = {
    BoxFeatures.SEED: (_seed_features,),
    BoxFeatures.PUBLISHED: (_published_features,),
    BoxFeatures.RICH: (_seed_features, _published_features, _rich_features),
}
