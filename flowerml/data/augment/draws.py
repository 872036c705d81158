"""Random parameters of the training recipe, drawn from torch's generator in the order in which torchvision draws them.

With the same seed, torchvision's `RandomResizedCrop`, `RandAugment` and `RandomErasing` and those of another library
then show the same part of a picture with the same operations: their views can be compared one by one.
"""

import math

import torch

Box = tuple[int, int, int, int]  # top, left, height, width [px]

_CROP_RATIO = (3 / 4, 4 / 3)
_ERASE_SCALE, _ERASE_RATIO = (0.02, 0.33), (0.3, 3.3)
_TRIES = 10


def draw_crop(height: int, width: int, scale: tuple[float, float]) -> Box:
    """A part of `scale` of the area with an aspect of 3/4 to 4/3; the largest centred one where no draw fits."""
    for _ in range(_TRIES):
        area = height * width * _uniform(*scale)
        aspect = _log_uniform(*_CROP_RATIO)
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return _randint(height - h + 1), _randint(width - w + 1), h, w
    w = min(width, round(height * _CROP_RATIO[1]))
    h = min(height, round(width / _CROP_RATIO[0]))
    return (height - h) // 2, (width - w) // 2, h, w


def draw_erased(size: int) -> Box | None:
    """A box of 2 to 33 % of a square of `size` px, with an aspect of 0.3 to 3.3; None where no draw fits."""
    for _ in range(_TRIES):
        area = size * size * _uniform(*_ERASE_SCALE)
        aspect = _log_uniform(*_ERASE_RATIO)
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if h < size and w < size:
            return _randint(size - h + 1), _randint(size - w + 1), h, w
    return None


def draw_jitter(strength: float) -> list[tuple[int, float]]:
    """Brightness (0), contrast (1) and saturation (2) in random order, with a factor of 1 - to 1 + `strength` each."""
    order = torch.randperm(4).tolist()  # torchvision's fourth is the hue
    factors = [_uniform(max(0.0, 1 - strength), 1 + strength) for _ in range(3)]
    return [(number, factors[number]) for number in order if number < len(factors)]


def draw_chance(probability: float) -> bool:
    """True with this probability."""
    return torch.rand(1).item() < probability


def draw_choice(count: int) -> int:
    """One of 0..count-1."""
    return int(torch.randint(count, ()))


def draw_sign() -> int:
    """-1 or 1."""
    return -1 if torch.rand(()).item() <= 0.5 else 1


def _uniform(low: float, high: float) -> float:
    return torch.empty(1).uniform_(low, high).item()


def _log_uniform(low: float, high: float) -> float:
    # In float32, as torchvision: the rounded edges of a box then are the same.
    bounds = torch.log(torch.tensor((low, high)))
    return torch.exp(torch.empty(1).uniform_(float(bounds[0]), float(bounds[1]))).item()


def _randint(count: int) -> int:
    return int(torch.randint(0, count, size=(1,)).item())
