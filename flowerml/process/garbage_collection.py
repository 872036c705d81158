"""Python's garbage collector during imports and during training."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_USUAL = gc.get_threshold()
_RARE = (100_000, *_USUAL[1:])
_frozen_here = False  # by `freeze`: gc.get_freeze_count() counts a million objects one by one
_imports_frozen = False  # by `freeze_imports`


def collect_rarely() -> None:
    """Let collections come after 100,000 new objects instead of 700. Call it before imports.

    Those of torch, torchvision, timm and MLflow make a million objects that stay, and a tenth of their time goes into
    looking through them.
    """
    gc.set_threshold(*_RARE)


def freeze_imports() -> None:
    """Freeze all objects as they are, after imports: the collection on entry to `frozen_gc` looks at newer ones only.

    That saves half a second before the first step. Imports leave little garbage, which is freed after the training.
    """
    global _imports_frozen  # noqa: PLW0603 - of the process, as the collector
    gc.freeze()
    _imports_frozen = True


def freeze() -> None:
    """Freeze all objects, free existing garbage, and let collections come as often as usual from now on."""
    global _frozen_here  # noqa: PLW0603 - of the process, as the collector
    gc.collect()  # else existing garbage stays as long, for example the model of a failed attempt
    gc.freeze()
    _frozen_here = True
    gc.set_threshold(*_USUAL)


@contextmanager
def frozen_gc() -> Iterator[None]:
    """Freeze all existing objects (`gc.freeze`), so that collections inside skip them.

    After the imports of torch and MLflow there are a million of them, and a full collection takes half a second.
    Objects made inside are collected as usual; frozen ones that become garbage are collected afterwards. Nothing is
    done where objects are frozen already: in a process forked from one that has everything imported.
    """
    global _frozen_here, _imports_frozen  # noqa: PLW0603 - as in `freeze`
    if _frozen_here or (not _imports_frozen and gc.get_freeze_count()):
        yield
        return
    before = gc.get_threshold()
    freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        _frozen_here = _imports_frozen = False
        gc.set_threshold(*before)
