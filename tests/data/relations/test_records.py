"""What mirroring and swapping do to a pair: numbers, names, and that doing it twice changes nothing."""

import random

import pytest

from flowerml.data.relations.records import FLIPPED, RELATIONS, SWAPPED, Box, Pair


def random_pair(seed):
    rng = random.Random(seed)

    def box():
        x0, x1 = sorted(rng.sample(range(101), 2))
        y0, y1 = sorted(rng.sample(range(81), 2))
        return Box(x0, y0, x1, y1)

    return Pair("a.jpg", 100, 80, box(), box(), rng.choice(RELATIONS), "cup", "table")


def test_the_ten_relations_in_label_order():
    assert RELATIONS == ("on", "under", "above", "below", "left of", "right of", "near", "next to", "inside", "outside")
    assert [Pair("a", 9, 9, Box(0, 0, 1, 1), Box(0, 0, 1, 1), name).label for name in RELATIONS] == list(range(10))
    assert set(FLIPPED) == set(SWAPPED) == set(RELATIONS)


def test_flipping_moves_both_boxes_and_swaps_left_and_right():
    pair = Pair("a.jpg", 100, 80, Box(10, 20, 30, 60), Box(50, 0, 100, 80), "left of", "cup", "table")
    assert pair.flipped() == Pair("a.jpg", 100, 80, Box(70, 20, 90, 60), Box(0, 0, 50, 80), "right of", "cup", "table")


def test_swapping_exchanges_boxes_and_categories():
    pair = Pair("a.jpg", 100, 80, Box(10, 20, 30, 60), Box(50, 0, 100, 80), "above", "lamp", "table")
    assert pair.swapped() == Pair("a.jpg", 100, 80, Box(50, 0, 100, 80), Box(10, 20, 30, 60), "below", "table", "lamp")


@pytest.mark.parametrize("name", ["inside", "outside"])
def test_inside_and_outside_have_no_swapped_relation(name):
    assert Pair("a", 9, 9, Box(0, 0, 1, 1), Box(0, 0, 1, 1), name).swapped() is None


@pytest.mark.parametrize("seed", range(40))
def test_flipping_and_swapping_twice_changes_nothing(seed):
    pair = random_pair(seed)
    assert pair.flipped().flipped() == pair
    swapped = pair.swapped()
    assert swapped is None or swapped.swapped() == pair
    if swapped is not None:
        flipped = pair.flipped().swapped()
        assert flipped == swapped.flipped()


@pytest.mark.parametrize("seed", range(10))
def test_flipping_keeps_sizes_and_what_is_left(seed):
    pair = random_pair(seed)
    flipped = pair.flipped()
    assert (flipped.subject.width, flipped.subject.height) == (pair.subject.width, pair.subject.height)
    assert (pair.subject.x0 - pair.object.x0 > 0) == (flipped.object.x1 - flipped.subject.x1 > 0)
    assert flipped.subject.area == pair.subject.area
