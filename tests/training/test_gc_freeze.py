"""The garbage collector: nothing that was there before a training is looked through during it, and nothing is kept for
good.
"""

import gc
import weakref
from collections.abc import Iterator

import pytest

from flowerml.training.gc_freeze import frozen_gc


class Knot:
    """Garbage that only the collector can free."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def nothing_frozen() -> Iterator[None]:
    """As a process begins; afterwards as the tests' own process was."""
    before = gc.get_freeze_count()
    gc.unfreeze()
    yield
    gc.unfreeze()
    if before:
        gc.freeze()


def tracked() -> int:
    """How many objects the collector looks through."""
    return sum(len(gc.get_objects(generation)) for generation in range(3))


def test_what_was_there_is_not_looked_through():
    before = tracked()
    with frozen_gc():
        assert tracked() < before / 100
        assert gc.get_freeze_count() > before * 0.9
    assert gc.get_freeze_count() == 0
    assert tracked() > before * 0.9


def test_what_was_garbage_before_is_freed_at_once():
    gone = weakref.ref(Knot())
    with frozen_gc():
        assert gone() is None


def test_what_is_made_inside_is_collected_inside():
    with frozen_gc():
        gone = weakref.ref(Knot())
        gc.collect()
        assert gone() is None


def test_what_becomes_garbage_inside_is_freed_afterwards():
    kept = [Knot()]
    gone = weakref.ref(kept[0])
    with frozen_gc():
        kept.clear()
        gc.collect()
        assert gone() is not None
    gc.collect()
    assert gone() is None


def test_an_error_inside_ends_it_too():
    with pytest.raises(ZeroDivisionError), frozen_gc():
        raise ZeroDivisionError
    assert gc.get_freeze_count() == 0


def test_a_process_that_was_spared_by_its_parent_stays_so():
    gc.freeze()
    own = Knot()  # of a run in it: small, and looked through as ever
    with frozen_gc():
        assert any(found is own for found in gc.get_objects())
    assert gc.get_freeze_count() > 0


def test_a_training_is_spared(toy):
    seen: list[int] = []
    toy.run(epochs=2, on_epoch=lambda _row: seen.append(gc.get_freeze_count()))
    assert min(seen) > 100_000, "torch alone has as many objects"
    assert gc.get_freeze_count() == 0
