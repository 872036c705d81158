"""The smallest batch a model can be trained on: two, where a BatchNorm would see a single value per channel."""

import torch
from torch import nn

from flowerml.data.inputs import Inputs
from flowerml.data.rng import seeded
from flowerml.models.classifier import Network


def smallest_batch(model: Network, size: int, *, frozen: bool) -> int:
    """1, or 2 where the model's normalization refuses one image of `size` pixels at a time in training.

    With `frozen` the backbone is never trained, so only the head counts. One forward pass, for models with BatchNorm
    only; weights, buffers, mode and global random numbers stay.
    """
    if not any(isinstance(module, nn.modules.batchnorm._BatchNorm | nn.GroupNorm) for module in model.modules()):
        return 1
    was_frozen, was_training = model.frozen, model.training
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        model.set_frozen(frozen=frozen)
        model.train()
        return 2 if _refuses(model, model.example_inputs(size)) else 1
    finally:
        model.set_frozen(frozen=was_frozen)
        model.train(was_training)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


def _refuses(model: Network, inputs: Inputs) -> bool:
    try:
        with torch.no_grad(), seeded("smallest batch"):
            model(inputs)
    except ValueError as error:
        if "Expected more than 1 value per channel" in str(error):
            return True
        raise
    return False
