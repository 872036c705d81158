"""Python's garbage collector beside a training."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def frozen_gc() -> Iterator[None]:
    """Inside, the collector does not look through what was there before: with torch and MLflow a million objects, half
    a second each time.

    What becomes garbage of it meanwhile is collected afterwards; what is made inside is collected as ever. A process
    that was forked from one with everything imported has been spared already.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.collect()  # what is garbage now would stay for as long: a network that a failed try has left behind
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
