"""From the pixels of a picture to the tensor that a network takes."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from flowerml.prediction.standalone.pictures import Input, resize_and_crop


def to_input(image: Image.Image, description: Input) -> torch.Tensor:
    """`resize_and_crop`, then normalise.

    An RGB image gives (3, size, size) float32: bit for bit that of torchvision's `resize` and `center_crop`.
    """
    pixels = torch.from_numpy(np.array(resize_and_crop(image, description))).permute(2, 0, 1)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (description.mean, description.std))
    return pixels.to(torch.float32).mul_(1 / 255).sub_(mean).div_(std)
