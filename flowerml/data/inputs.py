"""Model inputs, one tensor or a tuple of them, and the operations on both: to a device, chunk, stack."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

Inputs = torch.Tensor | tuple[torch.Tensor, ...]
"""Of a batch, every tensor has the leading dimension N; of a single example, none has."""


@dataclass(frozen=True)
class Relabelled:
    """Inputs of one example with the label they have after a transform (a mirrored pair has another relation)."""

    inputs: Inputs
    label: int


def tensors_of(inputs: Inputs) -> tuple[torch.Tensor, ...]:
    """The tensors as a tuple."""
    return (inputs,) if isinstance(inputs, torch.Tensor) else inputs


def batch_size_of(inputs: Inputs) -> int:
    """Number of examples N in the batch."""
    return len(tensors_of(inputs)[0])


def to_device(inputs: Inputs, device: torch.device) -> Inputs:
    """The inputs on `device`; asynchronous from pinned memory."""
    if isinstance(inputs, torch.Tensor):
        return inputs.to(device, non_blocking=True)
    return tuple(part.to(device, non_blocking=True) for part in inputs)


def to_memory_format(inputs: Inputs, memory_format: torch.memory_format) -> Inputs:
    """The inputs with 4-dimensional tensors (N, 3, S, S) in `memory_format`; others are unchanged."""
    if isinstance(inputs, torch.Tensor):
        return inputs.contiguous(memory_format=memory_format) if inputs.ndim == 4 else inputs
    return tuple(part.contiguous(memory_format=memory_format) if part.ndim == 4 else part for part in inputs)


def chunk(inputs: Inputs, parts: int) -> list[Inputs]:
    """The batch in at most `parts` parts of nearly equal size, in order, as `torch.chunk`."""
    return split(inputs, part_sizes(batch_size_of(inputs), parts))


def split(inputs: Inputs, sizes: Sequence[int]) -> list[Inputs]:
    """The batch in parts of these sizes, in order."""
    if isinstance(inputs, torch.Tensor):
        return list(inputs.split(list(sizes)))
    return list(zip(*(part.split(list(sizes)) for part in inputs), strict=True))


def part_sizes(count: int, parts: int, smallest: int = 1) -> list[int]:
    """Sizes of at most `parts` parts of `count` examples: as `torch.chunk`, but none below `smallest`.

    A last part below it joins the one before; fewer than `smallest` examples are one part.
    """
    size = max(math.ceil(count / parts), smallest)
    sizes = [min(size, count - start) for start in range(0, count, size)]
    if len(sizes) > 1 and sizes[-1] < smallest:
        last = sizes.pop()
        sizes[-1] += last
    return sizes


def stack(rows: Sequence[Inputs]) -> Inputs:
    """Inputs of single examples as one batch, as `torch.stack`."""
    first = rows[0]
    if isinstance(first, torch.Tensor):
        return torch.stack([row for row in rows if isinstance(row, torch.Tensor)])
    return tuple(torch.stack(list(column)) for column in zip(*rows, strict=True))
