"""What one prediction costs, in multiply-adds: a number of parameters does not say it (a ViT-B/32 has more of them than
a ViT-B/16).
"""

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from flowerml.data.inputs import Inputs, to_device


def multiply_adds(model: nn.Module, inputs: Inputs) -> int:
    """Multiply-adds of the matrix products, convolutions and attentions for `inputs`, those of one example, counted in
    an ordinary pass.

    The model is as before afterwards, and no random number is drawn.
    """
    device = next(model.parameters()).device
    training, fast = model.training, torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # a fused operation would count as none; so would fused attention
    model.eval()
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            model(to_device(inputs, device))
    finally:
        model.train(training)
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.get_total_flops() // 2
