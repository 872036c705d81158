"""OpenCV on uint8 pictures (H, W, 3) RGB: resize, and the operations of RandAugment as torchvision's on Pillow images.

Import it late: it loads OpenCV (0.2 s). No function changes its input. Results differ from Pillow's by rounding, and
within a pixel of edges.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np
import torch

from flowerml.data.augment.draws import draw_choice, draw_jitter, draw_sign

Picture = np.ndarray

cv2.setNumThreads(0)  # loader processes share the cores with the training

_LINEAR_LIMIT, _SUPERSAMPLE_LIMIT = 1.75, 3.0
_BINS = 30  # magnitudes are 0..30
_GREY = (0.299, 0.587, 0.114)  # ITU-R 601, as in Pillow


def resize_square(picture: Picture, size: int) -> Picture:
    """A part of a picture (H, W, 3) as (size, size, 3), antialiased.

    Linear interpolation covers reductions up to 1.75: there it is as near to Pillow's bicubic filter as the slower
    ways. Up to 3 it is applied at twice the size, then means of 2 x 2; beyond that, means of areas.
    """
    ratio = max(picture.shape[:2]) / size
    if ratio <= _LINEAR_LIMIT:
        return cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR)
    if ratio <= _SUPERSAMPLE_LIMIT:
        picture = cv2.resize(picture, (2 * size, 2 * size), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)


def flip(picture: Picture) -> Picture:
    """Left and right exchanged."""
    return cv2.flip(picture, 1)


def rand_augment(picture: Picture, magnitude: int) -> Picture:
    """Two random operations of `OPERATIONS` at a magnitude of 0..30, drawn in torchvision's order."""
    for _ in range(2):
        operation, strength, is_signed = OPERATIONS[draw_choice(len(OPERATIONS))]
        value = strength(magnitude / _BINS, picture)
        if is_signed:
            value *= draw_sign()
        picture = operation(picture, value)
    return picture


def trivial_augment(picture: Picture) -> Picture:
    """One random operation of `WIDE_OPERATIONS` at a random one of its strengths, drawn in torchvision's order."""
    operation, strengths, is_signed = WIDE_OPERATIONS[draw_choice(len(WIDE_OPERATIONS))]
    if not strengths:
        return operation(picture, 0.0)
    value = strengths[draw_choice(len(strengths))]
    return operation(picture, value * draw_sign() if is_signed else value)


def color_jitter(picture: Picture, strength: float) -> Picture:
    """Brightness, contrast and saturation times random factors, drawn in torchvision's order."""
    for number, factor in draw_jitter(strength):
        picture = (brightness, contrast, color)[number](picture, factor - 1)
    return picture


def identity(picture: Picture, _value: float) -> Picture:
    """The picture itself."""
    return picture


def shear_x(picture: Picture, value: float) -> Picture:
    """Rows moved by `value` times their distance from the top."""
    return _warp(picture, (1.0, value, 0.0, 0.0, 1.0, 0.0))


def shear_y(picture: Picture, value: float) -> Picture:
    """Columns moved by `value` times their distance from the left."""
    return _warp(picture, (1.0, 0.0, 0.0, value, 1.0, 0.0))


def translate_x(picture: Picture, value: float) -> Picture:
    """Moved to the right by `value` pixels; black beside it."""
    shift, width = int(value), picture.shape[1]
    moved = np.zeros_like(picture)
    moved[:, max(0, shift) : width + min(0, shift)] = picture[:, max(0, -shift) : width - max(0, shift)]
    return moved


def translate_y(picture: Picture, value: float) -> Picture:
    """Moved down by `value` pixels; black beside it."""
    shift, height = int(value), picture.shape[0]
    moved = np.zeros_like(picture)
    moved[max(0, shift) : height + min(0, shift)] = picture[max(0, -shift) : height - max(0, shift)]
    return moved


def rotate(picture: Picture, value: float) -> Picture:
    """Turned by `value` degrees, counterclockwise."""
    height, width = picture.shape[:2]
    angle = math.radians(-value)
    cos, sin, x, y = math.cos(angle), math.sin(angle), width / 2, height / 2
    return _warp(picture, (cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y))


def brightness(picture: Picture, value: float) -> Picture:
    """Times 1 + `value`."""
    return _look_up(picture, np.arange(256) * (1 + value))


def color(picture: Picture, value: float) -> Picture:
    """Distance from the grey picture times 1 + `value`."""
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(picture, 1 + value, grey, -value, 0)


def contrast(picture: Picture, value: float) -> Picture:
    """Distance from the mean grey level times 1 + `value`."""
    mean = int(np.dot(cv2.mean(picture)[:3], _GREY) + 0.5)
    return _look_up(picture, mean + (1 + value) * (np.arange(256) - mean))


def sharpness(picture: Picture, value: float) -> Picture:
    """Distance from the smoothed picture times 1 + `value`; pixels at the border stay, as in Pillow."""
    # Pillow's kernel is [[1, 1, 1], [1, 5, 1], [1, 1, 1]] / 13: 9/13 of the mean of 3 x 3 and 4/13 of the pixel.
    sharp = cv2.addWeighted(picture, 1 + value - value * 4 / 13, cv2.blur(picture, (3, 3)), -value * 9 / 13, 0)
    sharp[[0, -1]] = picture[[0, -1]]
    sharp[:, [0, -1]] = picture[:, [0, -1]]
    return sharp


def posterize(picture: Picture, value: float) -> Picture:
    """The upper `value` bits of each level."""
    return _look_up(picture, np.arange(256) & ~(2 ** (8 - int(value)) - 1))


def solarize(picture: Picture, value: float) -> Picture:
    """Levels from `value` on inverted."""
    levels = np.arange(256)
    return _look_up(picture, np.where(levels < value, levels, 255 - levels))


def auto_contrast(picture: Picture, _value: float) -> Picture:
    """Each channel's levels stretched to 0..255."""
    low = cv2.reduce(picture, 0, cv2.REDUCE_MIN).min(axis=(0, 1)).astype(np.float64)
    high = cv2.reduce(picture, 0, cv2.REDUCE_MAX).max(axis=(0, 1)).astype(np.float64)
    levels = np.arange(256.0)[:, None]
    is_flat = high <= low
    return _look_up(picture, np.where(is_flat, levels, (levels - low) * (255 / np.where(is_flat, 1, high - low))))


def equalize(picture: Picture, _value: float) -> Picture:
    """Each channel's levels spread evenly, by Pillow's rule."""
    levels = np.arange(256)
    tables = []
    for channel in range(3):
        counts = cv2.calcHist([picture], [channel], None, [256], [0, 256]).ravel().astype(np.int64)
        used = counts[counts > 0]
        step = int(used.sum() - used[-1]) // 255
        before = np.cumsum(counts) - counts
        tables.append((step // 2 + before) // step if len(used) > 1 and step else levels)
    return _look_up(picture, np.stack(tables, axis=1))


def _look_up(picture: Picture, table: np.ndarray) -> Picture:
    """Every level replaced by the table's (256,) or (256, 3), clipped to 0..255 and truncated, as Pillow does."""
    levels = np.clip(table, 0, 255).astype(np.uint8)
    return cv2.LUT(picture, levels if levels.ndim == 1 else levels[None])


def _warp(picture: Picture, inverse: tuple[float, ...]) -> Picture:
    """Affine transform by Pillow's matrix, from output to input, with pixel centres at .5; black outside."""
    a, b, c, d, e, f = inverse
    matrix = np.array([[a, b, c + (a + b - 1) / 2], [d, e, f + (d + e - 1) / 2]])  # OpenCV's centres are at 0
    height, width = picture.shape[:2]
    return cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def _up_to(largest: float) -> Callable[[float, Picture], float]:
    return lambda share, _picture: largest * share


def _nothing(_share: float, _picture: Picture) -> float:
    return 0.0


# Operation, strength from magnitude / 30, whether its sign is random; torchvision's list and order.
OPERATIONS: tuple[tuple[Callable[[Picture, float], Picture], Callable[[float, Picture], float], bool], ...] = (
    (identity, _nothing, False),
    (shear_x, _up_to(0.3), True),
    (shear_y, _up_to(0.3), True),
    (translate_x, lambda share, picture: 150 / 331 * picture.shape[1] * share, True),
    (translate_y, lambda share, picture: 150 / 331 * picture.shape[0] * share, True),
    (rotate, _up_to(30.0), True),
    (brightness, _up_to(0.9), True),
    (color, _up_to(0.9), True),
    (contrast, _up_to(0.9), True),
    (sharpness, _up_to(0.9), True),
    (posterize, lambda share, _picture: round(8 - 4 * share), False),
    (solarize, lambda share, _picture: 255 * (1 - share), False),
    (auto_contrast, _nothing, False),
    (equalize, _nothing, False),
)


def _from_zero_to(largest: float) -> tuple[float, ...]:
    return tuple(torch.linspace(0.0, largest, _BINS + 1).tolist())  # in float32, as torchvision: moves are rounded down


# Operation, its strengths (none: it has no magnitude), whether its sign is random; torchvision's TrivialAugmentWide.
WIDE_OPERATIONS: tuple[tuple[Callable[[Picture, float], Picture], tuple[float, ...], bool], ...] = (
    (identity, (), False),
    (shear_x, _from_zero_to(0.99), True),
    (shear_y, _from_zero_to(0.99), True),
    (translate_x, _from_zero_to(32.0), True),
    (translate_y, _from_zero_to(32.0), True),
    (rotate, _from_zero_to(135.0), True),
    (brightness, _from_zero_to(0.99), True),
    (color, _from_zero_to(0.99), True),
    (contrast, _from_zero_to(0.99), True),
    (sharpness, _from_zero_to(0.99), True),
    (posterize, tuple(round(8 - 6 * number / _BINS) for number in range(_BINS + 1)), False),
    (solarize, tuple(255 * value for value in reversed(_from_zero_to(1.0))), False),
    (auto_contrast, (), False),
    (equalize, (), False),
)
