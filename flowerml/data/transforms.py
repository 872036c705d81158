"""Transforms from a picture to a model's input: deterministic for evaluation, augmented for training."""

from dataclasses import dataclass

import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

# At least a third of the area: the flower fills these photos, and ImageNet's 8 % often shows only leaves.
CROP_SCALE = 0.35  # default of the setting `crop_scale`


@dataclass(frozen=True)
class InputDescription:
    """The preprocessing a model expects; stored with its weights.

    `size` is the edge of the square in pixels; `mean` and `std` are per channel in RGB order on a 0..1 scale;
    `crop_pct` is the share of the resized short edge that the centre crop keeps.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    crop_pct: float

    def __post_init__(self) -> None:
        """Raise ValueError for an unknown interpolation or invalid numbers."""
        InterpolationMode(self.interpolation)
        if (
            self.size < 1
            or not 0 < self.crop_pct <= 1
            or (len(self.mean), len(self.std)) != (3, 3)
            or min(self.std) <= 0
        ):
            raise ValueError(
                f"size {self.size}, crop_pct {self.crop_pct}, mean {self.mean} and std {self.std} describe no input"
            )


@dataclass(frozen=True)
class EvaluationTransform:
    """Resize the short edge to floor(size / crop_pct), centre crop, normalise: (3, size, size) float32."""

    description: InputDescription

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """The evaluation view of a picture."""
        return self.normalise(self.crop(image))

    def resize(self, image: Image.Image) -> Image.Image:
        """The picture with the short edge that the crop is cut from, at an aspect of at most 64."""
        edge = int(self.description.size / self.description.crop_pct)
        mode = InterpolationMode(self.description.interpolation)
        return F.resize(_limit_aspect(image), [edge], interpolation=mode, antialias=True)

    def crop(self, image: Image.Image) -> Image.Image:
        """The view before normalisation: a picture of (size, size)."""
        return F.center_crop(self.resize(image), [self.description.size, self.description.size])

    def normalise(self, view: Image.Image) -> torch.Tensor:
        """A result of `crop` as the model's input."""
        return _to_normalised_tensor(view, self.description)


def _limit_aspect(image: Image.Image) -> Image.Image:
    """Centre crop to an aspect of at most 64: resizing the short edge of an extreme strip would exhaust the memory."""
    short, long = sorted(image.size)
    if long <= 64 * short:
        return image
    size = [min(side, 64 * short) for side in (image.height, image.width)]
    return F.center_crop(image, size)


class TrainingTransform:
    """Random resized crop, flip, RandAugment (2 operations at this magnitude of 0..30), jitter, normalise, erasing.

    A picture to (3, size, size) float32; a crop keeps a share of `crop_scale` to 1 of its area. `color_jitter` draws
    factors for brightness, contrast and saturation, from 1 minus it to 1 plus it, as timm does. `trivialaugment` (wide,
    Müller & Hutter 2021) stands in the place of RandAugment. Draws from torch's global generator: call it inside
    `rng.seeded`.
    """

    def __init__(
        self,
        description: InputDescription,
        randaugment: int,
        random_erasing: float,
        *,
        crop_scale: float = CROP_SCALE,
        color_jitter: float = 0.0,
        trivialaugment: bool = False,
    ) -> None:
        self._description = description
        mode = InterpolationMode(description.interpolation)
        steps: list[torch.nn.Module] = [
            v2.RandomResizedCrop(description.size, scale=(crop_scale, 1.0), interpolation=mode, antialias=True),
            v2.RandomHorizontalFlip(),
        ]
        if randaugment:
            steps.append(v2.RandAugment(num_ops=2, magnitude=randaugment, interpolation=InterpolationMode.BILINEAR))
        if trivialaugment:
            steps.append(v2.TrivialAugmentWide(interpolation=InterpolationMode.BILINEAR))
        if color_jitter:
            steps.append(v2.ColorJitter(brightness=color_jitter, contrast=color_jitter, saturation=color_jitter))
        self._augment = v2.Compose(steps)
        self._erase = v2.RandomErasing(p=random_erasing) if random_erasing else None

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """A random view of a picture."""
        tensor = _to_normalised_tensor(self._augment(image), self._description)
        return tensor if self._erase is None else self._erase(tensor)


def _to_normalised_tensor(image: Image.Image, description: InputDescription) -> torch.Tensor:
    tensor = F.to_dtype(F.to_image(image), torch.float32, scale=True)
    return F.normalize(tensor.as_subclass(torch.Tensor), list(description.mean), list(description.std))
