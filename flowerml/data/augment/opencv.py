"""The training recipe on uint8 arrays with OpenCV; `transforms.TrainingTransform` is the same recipe with torchvision.

One run on one thread of a shared machine, 224 px, 150 photos reduced to a short edge of 382 px, medians: a crop takes
0.65 ms with OpenCV, 3.0 with torchvision on tensors, 4.7 with Pillow; RandAugment 5.3 ms on tensors, 4.1 with Pillow.
One of OpenCV's operations takes 0.1 to 0.8 ms (measured in another run). OpenCV is maintained, and its wheels need only
NumPy. `benchmarks/data_path.py` measures whole rows side by side.
"""

from typing import Any

import numpy as np
import torch

from flowerml.data.augment.draws import draw_chance, draw_crop, draw_erased
from flowerml.data.transforms import CROP_SCALE, InputDescription
from flowerml.errors import UserError

OPENCV, TORCHVISION = "opencv", "torchvision"  # values of the setting `augment_backend`


def require_backend(backend: str) -> None:
    """Load OpenCV where it is the backend, once for all loader processes that are forked from this one.

    Raises:
        UserError: it is not installed.
    """
    if backend != OPENCV:
        return
    try:
        import flowerml.data.augment.opencv_ops  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"--augment-backend opencv: OpenCV can't be loaded ({error}). Install it (pip install"
            " opencv-python-headless), or use --augment-backend torchvision"
        ) from None


class OpenCVTransform:
    """Random resized crop, flip, RandAugment (2 operations at this magnitude of 0..30), jitter, random erasing.

    A picture, Pillow's or uint8 (H, W, 3), to uint8 (3, size, size), not normalised, in channels-last layout. The
    erased box has the mean's colour, which is 0 after normalisation, to within rounding. The rest is as
    in `TrainingTransform`, and it draws as that does, from torch's global generator: call it inside `rng.seeded`.
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
        self._size = description.size
        self._scale = (crop_scale, 1.0)
        self._fill = np.rint(np.array(description.mean) * 255).clip(0, 255).astype(np.uint8)
        self._randaugment = randaugment
        self._trivialaugment = trivialaugment
        self._color_jitter = color_jitter
        self._random_erasing = random_erasing

    def __call__(self, image: Any) -> torch.Tensor:  # noqa: ANN401 - an array or anything that converts to one
        """A random view of a picture."""
        from flowerml.data.augment import opencv_ops  # late: it loads OpenCV

        pixels = np.asarray(image)
        top, left, height, width = draw_crop(pixels.shape[0], pixels.shape[1], self._scale)
        view = opencv_ops.resize_square(pixels[top : top + height, left : left + width], self._size)
        if draw_chance(0.5):
            view = opencv_ops.flip(view)
        if self._randaugment:
            view = opencv_ops.rand_augment(view, self._randaugment)
        if self._trivialaugment:
            view = opencv_ops.trivial_augment(view)
        if self._color_jitter:
            view = opencv_ops.color_jitter(view, self._color_jitter)
        if self._random_erasing and draw_chance(self._random_erasing):
            view = self._erase(view)
        return torch.from_numpy(view).permute(2, 0, 1)

    def _erase(self, view: np.ndarray) -> np.ndarray:
        box = draw_erased(self._size)
        if box is None:
            return view
        top, left, height, width = box
        view[top : top + height, left : left + width] = self._fill  # the crop is a copy: the cache is not changed
        return view
