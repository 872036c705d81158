"""Running out of memory: how it shows, on a GPU and on a CPU, and what can be given back before another try."""

import gc

import torch

# What torch's CPU allocator says in a plain RuntimeError (c10/core/impl/alloc_cpu.cpp), and MPS's allocator likewise.
_WORDS = ("can't allocate memory", "out of memory", "not enough memory")


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out: torch's own error on a GPU, a RuntimeError in words elsewhere, or
    Python's.

    A process that the kernel kills for its memory gets no error at all: that can't be seen from within.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


def give_back() -> None:
    """Let go of what a failed try has left behind. To be called after its `except` block, whose error holds every
    tensor of it.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
