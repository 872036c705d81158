"""Averages of the weights of fine-tuned models, and the BatchNorm statistics that belong to an average.

After Wortsman et al., "Model soups" (ICML 2022, arXiv 2203.05482), and, for BatchNorm, Izmailov et al., "Averaging
weights leads to wider optima and better generalization" (UAI 2018). `torch.optim.swa_utils` was weighed: its
`update_bn` takes batches of one tensor only, moves no memory format and ends in training mode throughout.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import nn

from flowerml.data.inputs import Inputs, to_device, to_memory_format
from flowerml.models.precision import plain_fp32

_HEAD = ("head.weight", "head.bias")


def average_states(states: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The mean of state dicts with the same keys and shapes (at least one), on the CPU, in the first one's dtypes.

    Sums are in float64. Integer and bool tensors (`num_batches_tracked`) are those of the first. One state dict is
    returned as a copy, bit for bit.

    Raises:
        ValueError: keys or shapes differ.
    """
    first = states[0]
    for other in states[1:]:
        if other.keys() != first.keys() or any(other[name].shape != first[name].shape for name in first):
            raise ValueError("state dicts of different models have no average")
    averaged = {}
    for name, tensor in first.items():
        if len(states) == 1 or not tensor.is_floating_point():
            averaged[name] = tensor.detach().cpu().clone()
            continue
        total = tensor.detach().cpu().to(torch.float64)  # a copy: no weights are stored in float64
        total = total.clone() if tensor.dtype == torch.float64 else total
        for other in states[1:]:
            total += other[name].detach().cpu()
        averaged[name] = (total / len(states)).to(tensor.dtype)
    return averaged


def interpolate_states(
    first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor], alpha: float
) -> dict[str, torch.Tensor]:
    """The point (1 - alpha) x `first` + alpha x `second` between two state dicts, as `average_states`; 0 and 1 are bit
    for bit the ends.

    Raises:
        ValueError: keys or shapes differ.
    """
    if first.keys() != second.keys() or any(first[name].shape != second[name].shape for name in first):
        raise ValueError("state dicts of different models have no line between them")
    if alpha in (0, 1):
        return {name: tensor.detach().cpu().clone() for name, tensor in (second if alpha else first).items()}
    between = {}
    for name, tensor in first.items():
        end = second[name].detach().cpu()
        if not tensor.is_floating_point():
            between[name] = end.clone()
            continue
        between[name] = torch.lerp(tensor.detach().cpu().double(), end.double(), alpha).to(tensor.dtype)
    return between


def permute_head(state: Mapping[str, torch.Tensor], order: Sequence[int]) -> dict[str, torch.Tensor]:
    """The state dict of a `Classifier` with the outputs of its linear head (C, F) in another order of the classes.

    Output i of the result is output `order[i]` of `state`.
    """
    index = torch.tensor(order)
    return {**state, **{name: state[name][index] for name in _HEAD}}


def batch_norms(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """The layers of `model` that have running statistics."""
    layers = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    return [layer for layer in layers if layer.running_mean is not None]


def statistics_differ(states: Sequence[Mapping[str, torch.Tensor]]) -> bool:
    """Whether state dicts with the same keys have other running statistics: those of one frozen backbone are equal."""
    first = states[0]
    names = [name for name in first if name.endswith((".running_mean", ".running_var"))]
    return any(not torch.equal(first[name], other[name]) for other in states[1:] for name in names)


@torch.no_grad()
@plain_fp32()
def estimate_batch_norm(
    model: nn.Module, batches: Iterable[Inputs], device: torch.device, memory_format: torch.memory_format
) -> None:
    """Replace the running statistics of every BatchNorm by their mean over `batches` (inputs, N >= 2 each).

    Only these layers are in training mode meanwhile, so that dropout is off. Integer buffers, momenta and the modes of
    all layers are restored. Does nothing to a model without BatchNorm.
    """
    layers = batch_norms(model)
    if not layers:
        return
    modes = [(module, module.training) for module in model.modules()]
    kept = [
        (layer.momentum, None if layer.num_batches_tracked is None else layer.num_batches_tracked.clone())
        for layer in layers
    ]
    model.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the cumulative mean: every batch counts alike
        layer.training = True
    try:
        for inputs in batches:
            model(to_memory_format(to_device(inputs, device), memory_format))
    finally:
        for layer, (momentum, count) in zip(layers, kept, strict=True):
            layer.momentum = momentum
            if count is not None and layer.num_batches_tracked is not None:
                layer.num_batches_tracked.copy_(count)
        for module, training in modes:
            module.training = training
