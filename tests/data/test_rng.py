"""Seeded draws: they depend on what they are for (seed, epoch, picture), not on the worker or on earlier draws."""

import itertools
import random

import numpy as np
import pytest
import torch

from flowerml.data.rng import derive_seed, permutation, seeded


def test_seeds_are_the_same_on_every_machine():
    """sha256 of the parts joined by tabs, 63 bits: written out, so that a resume under a later version still fits."""
    assert derive_seed(0) == 3456079177858693020
    assert derive_seed(11, "augment", 3, "rose/é.jpg", 0) == 5397214272333872792


def test_seeds_differ_in_every_part_and_fit_torch():
    parts = list(itertools.product((0, 1, 2), ("augment", "order"), range(5), ("a/1", "a/2", "b/1")))
    seeds = [derive_seed(*part) for part in parts]
    assert len(set(seeds)) == len(parts)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(1, 23) != derive_seed(12, 3), "parts are told apart"
    assert derive_seed("a/\udcff.jpg") != derive_seed("a/?.jpg"), "names that are not UTF-8 have seeds too"


def test_inside_the_draws_hang_on_the_parts_alone():
    def draw(*parts):
        with seeded(*parts):
            return torch.rand(4).tolist(), torch.randint(0, 1000, (3,)).tolist(), torch.randperm(9).tolist()

    torch.manual_seed(1)
    first = draw(11, 1, "a")
    torch.manual_seed(2)
    torch.rand(17)
    assert draw(11, 1, "a") == first
    others = [draw(*parts) for parts in ((11, 2, "a"), (11, 1, "b"), (12, 1, "a"), (0, 1, "a"), (1, 1, "a"))]
    assert len({str(drawn) for drawn in [first, *others]}) == 6


def test_outside_nothing_has_happened():
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    expected = torch.rand(3)
    torch.set_rng_state(before[0])
    with seeded(1, "x"):
        torch.rand(100)
        with seeded(2, "y"):
            torch.rand(7)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]
    assert torch.equal(torch.rand(3), expected)


def test_a_nested_draw_does_not_disturb_the_outer_one():
    with seeded(1):
        plain = torch.rand(2), torch.rand(2)
    with seeded(1):
        first = torch.rand(2)
        with seeded(2):
            torch.rand(50)
        second = torch.rand(2)
    assert torch.equal(first, plain[0])
    assert torch.equal(second, plain[1])


def test_the_state_comes_back_after_an_error():
    before = torch.get_rng_state()

    def fail():
        with seeded(1):
            torch.rand(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.equal(torch.get_rng_state(), before)


def test_permutation_depends_on_the_key_alone():
    before = torch.get_rng_state()
    orders = [permutation(50, seed, "order", epoch) for seed in (0, 1) for epoch in (1, 2)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert permutation(50, 0, "order", 2) == orders[1]
    assert torch.equal(torch.get_rng_state(), before)
    assert permutation(0, 1) == []
    assert permutation(1, 1) == [0]
