"""Work on many items in threads: the order of the items, and the first error, are those of a plain loop."""

import threading

import pytest

from flowerml.process.threads import map_in_threads


@pytest.fixture(params=[1, 4])
def cores(request, monkeypatch):
    """So many cores that may be used."""
    monkeypatch.setattr("flowerml.process.threads.usable_cores", lambda: request.param)
    return request.param


def test_results_are_in_the_order_of_the_items(cores):
    assert map_in_threads(lambda number: number**2, iter(range(50))) == [number**2 for number in range(50)]
    assert map_in_threads(str, []) == []


def test_several_are_worked_on_at_a_time(monkeypatch):
    """Each waits until all four have begun: with fewer threads the barrier would break."""
    monkeypatch.setattr("flowerml.process.threads.usable_cores", lambda: 4)
    together = threading.Barrier(4, timeout=60)
    assert sorted(map_in_threads(lambda _item: together.wait(), range(4))) == [0, 1, 2, 3]


def test_the_first_error_in_the_order_of_the_items_is_raised(cores):
    def odd_is_wrong(number):
        if number % 2:
            raise ValueError(number)
        return number

    with pytest.raises(ValueError, match=r"^1$"):
        map_in_threads(odd_is_wrong, range(6))
