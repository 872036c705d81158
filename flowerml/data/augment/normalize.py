"""Normalisation of uint8 batches on the device: a quarter of the bytes to copy, and one pass for the whole batch."""

import torch

from flowerml.data.inputs import Inputs
from flowerml.data.transforms import InputDescription


class BatchNormalizer:
    """Turns uint8 pictures (N, 3, S, S) into normalised float32 ones, on their device and in their memory layout.

    Batches that are float already, normalised by the loader, stay as they are.
    """

    def __init__(self, description: InputDescription, device: torch.device) -> None:
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (description.mean, description.std))
        self._scale, self._offset = (1 / (255 * std)).to(device), (-mean / std).to(device)

    def __call__(self, inputs: Inputs) -> Inputs:
        """The batch as the model takes it."""
        if not isinstance(inputs, torch.Tensor) or inputs.dtype != torch.uint8:
            return inputs
        return inputs.to(torch.float32).mul_(self._scale).add_(self._offset)
