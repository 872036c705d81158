"""Detection of out-of-memory errors on GPU and CPU, and freeing memory before a retry."""

import gc

import torch

# Messages of RuntimeErrors from torch's CPU allocator (c10/core/impl/alloc_cpu.cpp) and the MPS allocator.
_MESSAGES = ("can't allocate memory", "out of memory", "not enough memory")


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
