"""Cost of a prediction in multiply-adds, which parameters do not tell (a ViT-B/32 has more than a ViT-B/16)."""

import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from flowerml.data.inputs import Inputs, tensors_of, to_device


def multiply_adds(model: nn.Module, inputs: Inputs) -> int:
    """Multiply-adds of matrix products, convolutions and attention in a forward pass of `inputs`, one example.

    They follow from shapes: the pass takes fake tensors (of a device, unlike meta tensors, which autocast refuses), and
    computes nothing. The model's state is restored.
    """
    device = next(model.parameters()).device
    training, fastpath = model.training, torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # fused operations, and fused attention, are not counted
    model.eval()
    fake = FakeTensorMode()
    state: dict[str, torch.Tensor] = {
        name: fake.from_tensor(tensor) for name, tensor in (*model.named_parameters(), *model.named_buffers())
    }
    parts: tuple[torch.Tensor, ...] = tuple(map(fake.from_tensor, tensors_of(to_device(inputs, device))))
    try:
        with fake, FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            functional_call(model, state, (parts[0] if isinstance(inputs, torch.Tensor) else parts,))
    finally:
        model.train(training)
        torch.backends.mha.set_fastpath_enabled(fastpath)
    return counter.get_total_flops() // 2
