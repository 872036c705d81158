"""From a pair of boxes to a model's input: two crops and box features, mirrored together for augmentation."""

import math
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from PIL import Image, ImageOps
from torchvision.transforms.v2 import functional as tv

from flowerml.data.inputs import Relabelled
from flowerml.data.loader import Example
from flowerml.data.relations.geometry import BoxFeatures, box_features
from flowerml.data.relations.records import Box, Pair
from flowerml.data.transforms import InputDescription

Sides = tuple[torch.Tensor, torch.Tensor]  # subject and object: (3, S, S) each, or pooled features (F,)


class PairSource(Protocol):
    """The raw input of a pair: the pair, its label, and the label of the mirrored pair (None: no class names it)."""

    @property
    def pair(self) -> Pair: ...  # noqa: D102

    @property
    def label(self) -> int: ...  # noqa: D102

    @property
    def flipped_label(self) -> int | None: ...  # noqa: D102

    def sides(self, description: InputDescription, *, flipped: bool) -> Sides:
        """Subject and object, in the mirrored picture where `flipped`."""
        ...

    def swapped(self) -> "PairSource":
        """The same boxes with subject and object swapped; the label is kept and no longer valid."""
        ...


@dataclass(frozen=True)
class PairExample(Example):
    """An example that reads a PairSource, with what is known before reading."""

    pair: Pair
    flipped_label: int | None


@dataclass(frozen=True)
class ImagePairSource:
    """A pair with its picture, without EXIF orientation applied."""

    pair: Pair
    label: int
    flipped_label: int | None
    picture: Image.Image

    def sides(self, description: InputDescription, *, flipped: bool) -> Sides:
        """Both crops (3, S, S). Picture and boxes are mirrored together, so the crops hold the same pixels."""
        picture = ImageOps.mirror(self.picture) if flipped else self.picture
        pair = self.pair.flipped() if flipped else self.pair
        return crop_box(picture, pair.subject, description), crop_box(picture, pair.object, description)

    def swapped(self) -> "ImagePairSource":
        """As `PairSource.swapped`."""
        return replace(self, pair=swap_boxes(self.pair))


@dataclass(frozen=True)
class PairView:
    """Transform of a PairSource to (subject, object, box features), mirrored with `flip_probability`.

    Draws from torch's global generator: call it inside `rng.seeded`.
    """

    description: InputDescription
    kind: BoxFeatures
    flip_probability: float = 0.0

    def __call__(self, source: PairSource) -> Relabelled:
        """The inputs and their label."""
        flipped = (
            self.flip_probability > 0
            and source.flipped_label is not None
            and bool(torch.rand(()) < self.flip_probability)
        )
        pair = source.pair.flipped() if flipped else source.pair
        subject, other = source.sides(self.description, flipped=flipped)
        label = source.flipped_label if flipped and source.flipped_label is not None else source.label
        return Relabelled((subject, other, box_feature_tensor(pair, self.kind)), label)


def box_feature_tensor(pair: Pair, kind: BoxFeatures) -> torch.Tensor:
    """The box features (B,) float32."""
    return torch.from_numpy(box_features([pair], kind)[0])


def crop_box(picture: Image.Image, box: Box, description: InputDescription) -> torch.Tensor:
    """The box's pixels resized to (3, S, S) float32 and normalised. Pixels on an edge are included whole."""
    side = description.size
    resampling = Image.Resampling.BICUBIC if description.interpolation == "bicubic" else Image.Resampling.BILINEAR
    region = picture.crop((math.floor(box.x0), math.floor(box.y0), math.ceil(box.x1), math.ceil(box.y1)))
    resized = region.resize((side, side), resampling)
    tensor = tv.to_dtype(tv.to_image(resized), torch.float32, scale=True).as_subclass(torch.Tensor)
    return tv.normalize(tensor, list(description.mean), list(description.std))


def swap_boxes(pair: Pair) -> Pair:
    """The pair with subject and object swapped; the relation is kept and no longer valid (unlike Pair.swapped)."""
    return replace(
        pair,
        subject=pair.object,
        object=pair.subject,
        subject_category=pair.object_category,
        object_category=pair.subject_category,
    )
