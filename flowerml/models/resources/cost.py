"""Cost of a prediction in multiply-adds, which parameters do not tell (a ViT-B/32 has more than a ViT-B/16)."""

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from flowerml.data.inputs import Inputs, tensors_of


def multiply_adds(model: nn.Module, inputs: Inputs) -> int:
    """Multiply-adds of matrix products, convolutions and attention in a forward pass of `inputs`, one example.

    They follow from shapes: the pass takes tensors of the device "meta", which have no values, and computes nothing.
    The model's state is restored.
    """
    training, fastpath = model.training, torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # fused operations, and fused attention, are not counted
    model.eval()
    state = {name: tensor.to("meta") for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    parts = tuple(tensor.to("meta") for tensor in tensors_of(inputs))
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            functional_call(model, state, (parts[0] if isinstance(inputs, torch.Tensor) else parts,))
    finally:
        model.train(training)
        torch.backends.mha.set_fastpath_enabled(fastpath)
    return counter.get_total_flops() // 2
