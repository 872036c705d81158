"""What a model is given: one tensor, or several that belong together. Whoever moves, cuts or stacks inputs does it
here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

Inputs = torch.Tensor | tuple[torch.Tensor, ...]
"""Of a batch, every tensor begins with N; of one example, none does."""


@dataclass(frozen=True)
class Relabelled:
    """A view of an example that belongs to another class than the example itself: `inputs` of one example, the class's
    number.
    """

    inputs: Inputs
    label: int


def parts_of(inputs: Inputs) -> tuple[torch.Tensor, ...]:
    """The tensors, one or several."""
    return (inputs,) if isinstance(inputs, torch.Tensor) else inputs


def batch_size_of(inputs: Inputs) -> int:
    """How many examples the batch holds."""
    return len(parts_of(inputs)[0])


def to_device(inputs: Inputs, device: torch.device) -> Inputs:
    """The same on `device`; from pinned memory without waiting."""
    if isinstance(inputs, torch.Tensor):
        return inputs.to(device, non_blocking=True)
    return tuple(part.to(device, non_blocking=True) for part in inputs)


def to_memory_format(inputs: Inputs, memory_format: torch.memory_format) -> Inputs:
    """The same with its pictures (N, 3, S, S) laid out in memory as said; other tensors stay as they are."""
    if isinstance(inputs, torch.Tensor):
        return inputs.contiguous(memory_format=memory_format) if inputs.ndim == 4 else inputs
    return tuple(part.contiguous(memory_format=memory_format) if part.ndim == 4 else part for part in inputs)


def chunks(inputs: Inputs, parts: int) -> list[Inputs]:
    """The batch in at most `parts` parts of near equal size, in order."""
    if isinstance(inputs, torch.Tensor):
        return list(inputs.chunk(parts))
    return list(zip(*(part.chunk(parts) for part in inputs), strict=True))


def stack(rows: Sequence[Inputs]) -> Inputs:
    """Inputs of single examples as a batch."""
    first = rows[0]
    if isinstance(first, torch.Tensor):
        return torch.stack([row for row in rows if isinstance(row, torch.Tensor)])
    return tuple(torch.stack(list(column)) for column in zip(*rows, strict=True))
