"""Python's garbage collector during training."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def frozen_gc() -> Iterator[None]:
    """Freeze all existing objects (`gc.freeze`), so that collections inside skip them.

    After the imports of torch and MLflow there are a million of them, and a full collection takes half a second.
    Objects made inside are collected as usual; frozen ones that become garbage are collected afterwards. Nothing is
    done where objects are frozen already: in a process forked from one that has everything imported.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.collect()  # else existing garbage stays as long, for example the model of a failed attempt
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
