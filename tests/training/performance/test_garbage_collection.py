"""Frozen garbage collection: existing objects are skipped inside and collected afterwards."""

import gc
import multiprocessing
import weakref
from collections.abc import Iterator

import pytest

from flowerml.process import garbage_collection
from flowerml.process.garbage_collection import collect_rarely, freeze_imports, frozen_gc


class Cycle:
    """Garbage that only the collector can free."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def unfrozen(monkeypatch) -> Iterator[None]:
    """Starts unfrozen, and restores the test process's state afterwards: a command may have run in it."""
    monkeypatch.setattr(garbage_collection, "_imports_frozen", False)
    before, threshold = gc.get_freeze_count(), gc.get_threshold()
    gc.unfreeze()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)
    if before:
        gc.freeze()


def tracked() -> int:
    """Number of objects that the collector tracks."""
    return sum(len(gc.get_objects(generation)) for generation in range(3))


@pytest.mark.slow
def test_existing_objects_are_frozen():
    before = tracked()
    with frozen_gc():
        assert tracked() < before / 100
        assert gc.get_freeze_count() > before * 0.9
    assert gc.get_freeze_count() == 0
    assert tracked() > before * 0.9


@pytest.mark.slow
def test_existing_garbage_is_freed_on_entry():
    reference = weakref.ref(Cycle())
    with frozen_gc():
        assert reference() is None


@pytest.mark.slow
def test_collections_are_rare_during_imports_and_as_usual_during_a_training():
    usual = garbage_collection._USUAL  # a command that ran in this process has left it changed
    gc.set_threshold(*usual)
    collect_rarely()
    rare = gc.get_threshold()
    assert rare[0] > 100 * usual[0]
    with frozen_gc():
        assert gc.get_threshold() == usual
    assert gc.get_threshold() == rare


@pytest.mark.slow
def test_new_garbage_is_collected_inside():
    with frozen_gc():
        reference = weakref.ref(Cycle())
        gc.collect()
        assert reference() is None


@pytest.mark.slow
def test_frozen_garbage_is_freed_on_exit():
    kept = [Cycle()]
    reference = weakref.ref(kept[0])
    with frozen_gc():
        kept.clear()
        gc.collect()
        assert reference() is not None
    gc.collect()
    assert reference() is None


def test_imports_that_were_frozen_are_not_looked_through_and_later_garbage_is_freed():
    """`flowerml train` freezes what it has imported: a collection of a million objects takes half a second."""
    freeze_imports()
    imported = gc.get_freeze_count()
    reference = weakref.ref(Cycle())
    with frozen_gc():
        assert reference() is None
        assert gc.get_freeze_count() >= imported
        assert tracked() < imported / 100
    assert gc.get_freeze_count() == 0


def test_an_error_inside_unfreezes():
    with pytest.raises(ZeroDivisionError), frozen_gc():
        raise ZeroDivisionError
    assert gc.get_freeze_count() == 0


def test_objects_frozen_by_a_parent_process_stay_frozen():
    gc.freeze()
    own = Cycle()  # of a run in it: small, and looked through as ever
    with frozen_gc():
        assert any(found is own for found in gc.get_objects())
    assert gc.get_freeze_count() > 0


@pytest.mark.slow
def test_training_runs_with_frozen_gc(toy):
    seen: list[int] = []
    toy.run(epochs=2, on_epoch=lambda _row: seen.append(gc.get_freeze_count()))
    assert min(seen) > 100_000, "torch alone has as many objects"
    assert gc.get_freeze_count() == 0


@pytest.mark.slow
def test_loader_processes_end_with_the_training_without_a_collection(toy):
    """Commands collect rarely: what only a collection frees would be waited for at the end of the process."""
    gc.collect()
    gc.disable()
    try:
        toy.run(epochs=2, workers=1)
        assert multiprocessing.active_children() == []
    finally:
        gc.enable()
