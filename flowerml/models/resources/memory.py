"""Memory of a training: detection of out-of-memory errors, freeing before a retry, gradient checkpointing."""

import gc

import torch
from torch import nn

from flowerml.errors import UserError
from flowerml.settings import ModelSpec

# Messages of RuntimeErrors from torch's CPU allocator (c10/core/impl/alloc_cpu.cpp), the MPS allocator and C++.
_MESSAGES = ("can't allocate memory", "out of memory", "not enough memory", "std::bad_alloc")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` is an out-of-memory error: torch's (GPU), a RuntimeError by its message (CPU, MPS), or Python's.

    A process killed by the kernel's OOM killer gets no error.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES)


def free_memory() -> None:
    """Free what a failed attempt left. Call it after the `except` block: the traceback holds the tensors."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def enable_grad_checkpointing(backbone: nn.Module, spec: ModelSpec) -> None:
    """Turn gradient checkpointing on: activations inside a backbone's blocks are computed again in the backward pass.

    Chen et al., "Training Deep Nets with Sublinear Memory Cost" (2016). The blocks are the library's own choice.

    Raises:
        UserError: the model has none.
    """
    if not _checkpoints_gradients(backbone):
        raise UserError(f"--grad-checkpointing: {spec.name} has none. Leave it out; --accumulate saves memory too")


def _checkpoints_gradients(backbone: nn.Module) -> bool:
    """Turn it on where the library can. Some models have the method, which then does nothing or refuses."""
    turn_on = getattr(backbone, "set_grad_checkpointing", None)
    if turn_on is None:
        return False
    try:
        turn_on(True)
    except AssertionError:  # timm's answer of a model without it
        return False
    return any(getattr(module, "grad_checkpointing", False) for module in backbone.modules())
