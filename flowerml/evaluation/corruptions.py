"""Corruptions of pictures, each at three strengths, as a photo may have them when a classifier is in use.

Kinds and strengths follow Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (ICLR 2019, arXiv 1903.12261), and as there a picture is corrupted at the size at which the model sees
it: a strength then means the same for a large photo and a small one. Rotation and squeeze are added: cameras are held
askew, and some data sets have all photos squeezed to one size.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter
from torchvision.transforms.v2 import functional as F

from flowerml.data.transforms import EvaluationTransform, InputDescription

_LONGEST = 3  # aspect of what is corrupted: the centre crop shows no more
_SEEDS = 2**62


@dataclass(frozen=True)
class Corruption:
    """A kind of corruption. `apply` takes an RGB picture, a strength and a seed, and returns a new picture.

    `strengths` go from weak to strong, in what `unit` says; `form` writes one as text. At the strength `none` the
    picture stays as it is; None: there is no such strength.
    """

    name: str
    unit: str
    form: str
    strengths: tuple[float, float, float]
    none: float | None
    apply: Callable[[Image.Image, float, int], Image.Image]

    def label(self, strength: float) -> str:
        """A strength as short text."""
        return self.form.format(strength)


def blur(image: Image.Image, strength: float, _seed: int) -> Image.Image:
    """Gaussian blur with a standard deviation of `strength` times the short edge."""
    return image.filter(ImageFilter.GaussianBlur(strength * min(image.size)))


def add_noise(image: Image.Image, strength: float, seed: int) -> Image.Image:
    """Gaussian noise of each pixel and channel; its standard deviation is a share of the range of levels.

    One seed gives one noise, scaled by `strength`.
    """
    pixels = np.asarray(image, dtype=np.float32)
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(seed)).numpy()
    return Image.fromarray(np.rint(pixels + 255 * strength * noise).clip(0, 255).astype(np.uint8))


def compress(image: Image.Image, strength: float, _seed: int) -> Image.Image:
    """JPEG of this quality (1..95), decoded."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(strength))
    return Image.open(buffer, formats=("JPEG",)).convert("RGB")


def scale_brightness(image: Image.Image, strength: float, _seed: int) -> Image.Image:
    """All levels times `strength`, cut off at white."""
    return ImageEnhance.Brightness(image).enhance(strength)


def rotate(image: Image.Image, strength: float, _seed: int) -> Image.Image:
    """Turned by `strength` degrees about its centre; the corners show the picture mirrored at its edges."""
    width, height = image.size
    # A turned picture needs its own half diagonal in each direction.
    reach = math.ceil(math.hypot(width, height) / 2)
    margins = (max(0, reach - height // 2), max(0, reach - width // 2))
    pixels = np.pad(np.asarray(image), [(margins[0],) * 2, (margins[1],) * 2, (0, 0)], mode="symmetric")
    turned = Image.fromarray(pixels).rotate(strength, Image.Resampling.BICUBIC)
    return turned.crop((margins[1], margins[0], margins[1] + width, margins[0] + height))


def squeeze(image: Image.Image, strength: float, _seed: int) -> Image.Image:
    """Height over width times `strength`: what was round is tall."""
    width, height = image.size
    return image.resize((width, round(strength * height)), Image.Resampling.BICUBIC)


CORRUPTIONS = (
    Corruption("blur", "standard deviation, share of the short edge", "{:.1%}", (0.005, 0.01, 0.02), 0.0, blur),
    Corruption("noise", "standard deviation, share of the levels", "{:.0%}", (0.08, 0.16, 0.32), 0.0, add_noise),
    Corruption("JPEG", "quality", "q{:g}", (30, 15, 7), None, compress),
    Corruption("darker", "factor of all levels", "x{:g}", (0.6, 0.4, 0.2), 1.0, scale_brightness),
    Corruption("brighter", "factor of all levels", "x{:g}", (1.5, 2.0, 3.0), 1.0, scale_brightness),
    Corruption("rotation", "degrees", "{:g}°", (15, 30, 45), 0.0, rotate),
    Corruption("squeeze", "factor of height over width", "{:g}:1", (1.25, 1.5, 2.0), 1.0, squeeze),
)
VIEWS = tuple((corruption, strength) for corruption in CORRUPTIONS for strength in corruption.strengths)
"""Each corruption at each of its strengths, in the order of `CorruptedViews`."""


class CorruptedViews:
    """A picture to all its corrupted views: uint8 (V, 3, size, size) in the order of `VIEWS`, not normalised.

    The picture is resized as for evaluation, corrupted, and then goes through the whole evaluation transform. The seed
    of its noise is drawn from torch's global generator: call it inside `rng.seeded`.
    """

    def __init__(self, description: InputDescription) -> None:
        self._transform = EvaluationTransform(description)

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """The views of a picture."""
        resized = self._transform.resize(image)
        longest = _LONGEST * min(resized.size)
        resized = F.center_crop(resized, [min(resized.height, longest), min(resized.width, longest)])
        seed = int(torch.randint(_SEEDS, ()))
        return torch.stack([self.view(corruption.apply(resized, strength, seed)) for corruption, strength in VIEWS])

    def view(self, image: Image.Image) -> torch.Tensor:
        """The evaluation view of a picture before normalisation: uint8 (3, size, size)."""
        return F.pil_to_tensor(self._transform.crop(image))
