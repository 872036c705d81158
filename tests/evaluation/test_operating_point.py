"""Operating points: the decision rule, its ends, the choice of one, and bootstrap intervals over images."""

import itertools

import numpy as np
import pytest

from flowerml.evaluation.pairs.operating_point import (
    bootstrap_over_images,
    choose_operating_point,
    measure_decisions,
    operating_points,
    per_class_recall,
    weighted_decisions,
    weighted_metrics,
)

SHARES = np.array([0.7, 0.25, 0.05])
ALL = [0, 1, 2]


def sample(count, seed):
    """Probabilities that are right: labels are drawn from them. Classes come with about SHARES."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(SHARES * 2, size=count)
    labels = (probabilities.cumsum(axis=1) > rng.random((count, 1))).argmax(axis=1)
    return np.log(probabilities + 1e-12), labels


def test_the_ends_are_argmax_and_balanced_argmax():
    logs, _ = sample(500, 1)
    assert np.array_equal(weighted_decisions(logs, SHARES, ALL, 1.0), logs.argmax(axis=1))
    assert np.array_equal(weighted_decisions(logs, SHARES, ALL, 0.0), (logs - np.log(SHARES)).argmax(axis=1))


@pytest.mark.parametrize("a", [0.0, 0.3, 0.7, 1.0])
def test_no_other_class_weights_do_better_on_the_objective(a):
    """On many examples drawn from the probabilities themselves, against 125 other weightings of the classes."""
    logs, labels = sample(100_000, 2)
    shares = np.bincount(labels, minlength=3) / len(labels)

    def worth(predicted):
        point = measure_decisions(predicted, labels, ALL, a, 3)
        return a * point.accuracy + (1 - a) * point.mean_recall

    ours = worth(weighted_decisions(logs, shares, ALL, a))
    others = itertools.product((0.2, 0.5, 1, 3, 12), repeat=3)
    assert ours >= max(worth((logs + np.log(weights)).argmax(axis=1)) for weights in others) - 2e-3


def test_accuracy_rises_and_mean_recall_falls_along_the_operating_points():
    logs, labels = sample(50_000, 3)
    points = operating_points(logs, labels, np.bincount(labels) / len(labels), ALL)
    assert [point.share for point in (points[0], points[-1])] == [0, 1]
    assert all(later.accuracy >= sooner.accuracy - 1e-3 for sooner, later in itertools.pairwise(points))
    assert all(later.mean_recall <= sooner.mean_recall + 5e-3 for sooner, later in itertools.pairwise(points))
    assert points[-1].accuracy > points[0].accuracy + 0.01
    assert points[0].mean_recall > points[-1].mean_recall + 0.01


def test_a_class_too_rare_to_measure_gets_the_largest_weight():
    logs = np.log(np.array([[0.05, 0.4, 0.55]]))
    tiny = np.array([0.699, 0.3, 0.001])
    assert weighted_decisions(logs, tiny, [0, 1], 0.0) == 2
    assert weighted_decisions(np.log(np.array([[0.05, 0.5, 0.45]])), tiny, [0, 1], 0.0) == 1
    assert weighted_decisions(np.log(np.array([[0.05, 0.5, 0.45]])), tiny, [0, 1, 2], 0.0) == 2


def test_recalls_by_hand():
    predicted, labels = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    found = per_class_recall(predicted, labels, 3)
    assert found[:2] == pytest.approx([1, 2 / 3])
    assert np.isnan(found[2])
    point = measure_decisions(predicted, labels, [0, 1, 2], 1.0, 3)
    assert (point.accuracy, point.mean_recall) == (0.75, pytest.approx(5 / 6))


def test_the_point_with_the_largest_smaller_margin_is_chosen():
    logs, labels = sample(5000, 4)
    points = operating_points(logs, labels, SHARES, ALL)
    chosen = choose_operating_point(points, 0.6, 0.5)
    margins = [min(point.accuracy - 0.6, point.mean_recall - 0.5) for point in points]
    assert min(chosen.accuracy - 0.6, chosen.mean_recall - 0.5) == max(margins)
    assert choose_operating_point(points, 0.0, 1.0).mean_recall == max(point.mean_recall for point in points)
    assert choose_operating_point(points, 1.0, 0.0).accuracy == max(point.accuracy for point in points)


def test_metrics_with_counts_of_one_are_the_plain_ones():
    logs, labels = sample(400, 5)
    predicted = logs.argmax(axis=1)
    figures = weighted_metrics(predicted, labels, ALL, 3)(np.ones(400))
    point = measure_decisions(predicted, labels, ALL, 1.0, 3)
    assert figures == pytest.approx([point.accuracy, point.mean_recall])


def test_examples_taken_twice_count_twice():
    predicted, labels = np.array([0, 1, 1]), np.array([0, 0, 1])
    accuracy, recall = weighted_metrics(predicted, labels, [0, 1], 2)(np.array([2, 1, 0]))
    assert (accuracy, recall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))  # class 1 was not drawn


def test_intervals_are_wider_where_images_hold_many_pairs_that_agree():
    """200 pairs: as 200 images the interval is the binomial one; as 20 images of ten equal answers it is about three
    times as wide.
    """
    right = np.repeat(np.arange(20) % 2, 10)
    labels = np.zeros(200, dtype=int)
    figures = weighted_metrics(1 - right, labels, [0], 2)
    single = bootstrap_over_images([str(i) for i in range(200)], figures)[0]
    grouped = bootstrap_over_images([str(i // 10) for i in range(200)], figures)[0]
    assert single[1] - single[0] == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 200), rel=0.15)
    assert (grouped[1] - grouped[0]) / (single[1] - single[0]) == pytest.approx(np.sqrt(10), rel=0.2)
    assert np.array_equal(bootstrap_over_images([str(i) for i in range(200)], figures)[0], single)
