"""From two boxes in a picture to a model's input: crops, the numbers of the boxes, and the mirror that moves all of it
together.
"""

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

Sides = tuple[torch.Tensor, torch.Tensor]  # what is seen of subject and object: (3, S, S) each, or pooled features (F,)


class PairSource(Protocol):
    """What an example of a pair is read as: the pair, its class's number, and that of the mirrored pair (None: no class
    says it).
    """

    @property
    def pair(self) -> Pair: ...  # noqa: D102

    @property
    def label(self) -> int: ...  # noqa: D102

    @property
    def mirrored(self) -> int | None: ...  # noqa: D102

    def sides(self, description: InputDescription, *, flipped: bool) -> Sides:
        """Subject and object, in the mirrored picture where `flipped`."""
        ...

    def swapped(self) -> "PairSource":
        """The same two boxes with subject and object in each other's place; the label stays, and is nobody's any more."""
        ...


@dataclass(frozen=True)
class PairExample(Example):
    """An example that is read as a `Sight`; what of it is known without reading."""

    pair: Pair
    mirrored: int | None


@dataclass(frozen=True)
class ImagePairSource:
    """A pair with its picture, whose pixels are as they are stored."""

    pair: Pair
    label: int
    mirrored: int | None
    picture: Image.Image

    def sides(self, description: InputDescription, *, flipped: bool) -> Sides:
        """Both crops. Picture and boxes are mirrored together, so no pixel but the boxes' own is seen either way."""
        picture = ImageOps.mirror(self.picture) if flipped else self.picture
        pair = self.pair.flipped() if flipped else self.pair
        return crop(picture, pair.subject, description), crop(picture, pair.object, description)

    def swapped(self) -> "ImagePairSource":
        """As `Sight.exchanged`."""
        return replace(self, pair=swapped(self.pair))


@dataclass(frozen=True)
class PairView:
    """An example's sight to (subject, object, box numbers); mirrored with probability `flip`, drawn from torch's global
    generator.
    """

    description: InputDescription
    kind: BoxFeatures
    flip: float = 0.0

    def __call__(self, sight: PairSource) -> Relabelled:
        """The input and the label that goes with it."""
        flipped = self.flip > 0 and sight.mirrored is not None and bool(torch.rand(()) < self.flip)
        pair = sight.pair.flipped() if flipped else sight.pair
        subject, other = sight.sides(self.description, flipped=flipped)
        label = sight.mirrored if flipped and sight.mirrored is not None else sight.label
        return Relabelled((subject, other, numbers(pair, self.kind)), label)


def numbers(pair: Pair, kind: BoxFeatures) -> torch.Tensor:
    """The box numbers (B,) float32."""
    return torch.from_numpy(box_features([pair], kind)[0])


def crop(picture: Image.Image, box: Box, description: InputDescription) -> torch.Tensor:
    """What is inside a box, stretched to (3, S, S) float32 and normalised. An edge within a pixel takes the whole of
    it.
    """
    side = description.size
    how = Image.Resampling.BICUBIC if description.interpolation == "bicubic" else Image.Resampling.BILINEAR
    inside = picture.crop((math.floor(box.x0), math.floor(box.y0), math.ceil(box.x1), math.ceil(box.y1)))
    cut = inside.resize((side, side), how)
    tensor = tv.to_dtype(tv.to_image(cut), torch.float32, scale=True).as_subclass(torch.Tensor)
    return tv.normalize(tensor, list(description.mean), list(description.std))


def swapped(pair: Pair) -> Pair:
    """The same two boxes with subject and object in each other's place; the relation stays as it was and is nobody's
    any more.
    """
    return replace(
        pair,
        subject=pair.object,
        object=pair.subject,
        subject_category=pair.object_category,
        object_category=pair.subject_category,
    )
