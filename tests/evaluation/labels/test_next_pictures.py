"""Which pictures and classes come first: the rules, by hand."""

import math

import numpy as np
import pytest

from flowerml.evaluation.labels.next_pictures import (
    class_needs,
    confused_pairs,
    disagreement,
    find_uncertain_pictures,
)

CLASSES = ("daisy", "rose", "tulip")


def test_the_smallest_margin_comes_first_and_equal_ones_by_name():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.4, 0.35, 0.25], [0.1, 0.45, 0.45], [0.35, 0.4, 0.25]])
    found = find_uncertain_pictures(["a", "c", "d", "b"], np.array([0, 0, 1, 2]), probabilities, CLASSES, 3)
    assert [one.key for one in found] == ["d", "b", "c"]
    assert (found[0].first, found[0].second, found[0].margin) == ("rose", "tulip", 0.0)
    assert (found[1].label, found[1].first, found[1].second) == ("tulip", "rose", "daisy")


def test_classes_are_in_the_order_of_their_recall_with_what_they_are_taken_for():
    confusion = np.array([[8, 1, 1], [0, 10, 0], [3, 1, 6]])
    needs = class_needs(confusion, CLASSES)
    assert [(need.name, need.hits, need.total, need.taken_for, need.taken_for_count) for need in needs] == [
        ("tulip", 6, 10, "daisy", 3),
        ("daisy", 8, 10, "rose", 1),
        ("rose", 10, 10, "", 0),
    ]
    assert needs[0].interval[0] < needs[0].recall < needs[0].interval[1]


def test_a_class_without_pictures_is_left_out():
    assert [need.name for need in class_needs(np.array([[2, 0, 0], [0, 0, 0], [1, 0, 3]]), CLASSES)] == [
        "tulip",
        "daisy",
    ]


def test_pairs_count_both_directions():
    pairs = confused_pairs(np.array([[8, 1, 2], [4, 10, 0], [3, 0, 6]]), CLASSES)
    assert [(pair.first, pair.second, pair.errors) for pair in pairs] == [("daisy", "rose", 5), ("daisy", "tulip", 5)]


def test_models_that_agree_do_not_disagree_however_unsure_they_are():
    alike = np.array([[[1 / 3, 1 / 3, 1 / 3], [0.9, 0.05, 0.05]]] * 4)
    assert disagreement(alike) == pytest.approx([0.0, 0.0], abs=1e-12)


def test_two_models_each_sure_of_another_class_disagree_by_ln_2():
    assert disagreement(np.array([[[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]]))[0] == pytest.approx(math.log(2))
