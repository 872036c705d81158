"""Metrics against scikit-learn, torch and hand computation."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics

from flowerml.evaluation.metrics import Predictions, calibration_error, compute_metrics, format_scores, wilson_interval

CLASSES = ("daisy", "rose", "tulip")


def predictions(labels, logits, classes=CLASSES) -> Predictions:
    labels = np.asarray(labels, dtype=np.int64)
    return Predictions(
        classes, tuple(f"p{n}" for n in range(len(labels))), labels, np.asarray(logits, dtype=np.float32)
    )


def random_predictions(seed: int, count: int = 60, classes=CLASSES, labels=None) -> Predictions:
    draw = np.random.default_rng(seed)
    if labels is None:
        labels = draw.choice(len(classes), size=count, p=[0.6, 0.3, 0.1])
    return predictions(labels, draw.normal(size=(count, len(classes))) * 3, classes)


@pytest.mark.parametrize("seed", range(5))
def test_every_score_equals_sklearns(seed):
    made = random_predictions(seed)
    found, guesses = compute_metrics(made), made.logits.argmax(1)
    assert (found.hits, found.total) == ((made.labels == guesses).sum(), 60)
    assert found.accuracy == metrics.accuracy_score(made.labels, guesses)
    assert found.macro_f1 == pytest.approx(metrics.f1_score(made.labels, guesses, average="macro"), abs=1e-12)
    report = metrics.classification_report(made.labels, guesses, target_names=CLASSES, output_dict=True)
    for row in found.per_class:
        assert row["precision"] == pytest.approx(report[row["class"]]["precision"])
        assert row["recall"] == pytest.approx(report[row["class"]]["recall"])
        assert row["f1"] == pytest.approx(report[row["class"]]["f1-score"])
        assert row["support"] == report[row["class"]]["support"]
    assert [row["class"] for row in found.per_class] == list(CLASSES)


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_equals_torchs_cross_entropy(seed):
    made = random_predictions(seed)
    expected = torch.nn.functional.cross_entropy(torch.from_numpy(made.logits).double(), torch.from_numpy(made.labels))
    assert compute_metrics(made).loss == pytest.approx(expected.item(), rel=1e-12)


def test_the_loss_of_a_certain_mistake_is_large_not_infinite():
    assert compute_metrics(predictions([0], [[-1e4, 1e4, 0]])).loss == pytest.approx(2e4)


def test_probabilities_are_a_softmax_that_survives_large_logits():
    shares = predictions([0, 0], [[1e4, 0, -1e4], [0, math.log(2), math.log(5)]]).probabilities
    assert shares.sum(1) == pytest.approx([1, 1])
    assert shares[1] == pytest.approx([1 / 8, 2 / 8, 5 / 8])


def test_rows_of_the_confusion_matrix_are_true_classes_and_columns_predicted_ones():
    one_hot = np.eye(3) * 5
    made = predictions([0, 0, 0, 1, 2], one_hot[[0, 1, 1, 1, 0]])
    assert compute_metrics(made).confusion.tolist() == [[1, 2, 0], [0, 1, 0], [1, 0, 0]]


def test_on_ties_the_first_class_is_predicted():
    assert predictions([0, 0], [[1, 1, 0], [0, 2, 2]]).predicted.tolist() == [0, 1]


def test_a_class_without_examples_is_listed_but_not_in_macro_f1():
    one_hot = np.eye(3) * 5
    found = compute_metrics(predictions([0, 0, 1, 1], one_hot[[0, 0, 1, 2]]))
    assert found.macro_f1 == pytest.approx((1.0 + 2 / 3) / 2)
    empty = {"precision": 0.0, "recall": 0.0, "recall_interval_95": None, "f1": 0.0, "support": 0}
    assert found.per_class[2] == {"class": "tulip", **empty}
    assert found.mean_recall == pytest.approx((1.0 + 0.5) / 2)
    assert found.confusion.shape == (3, 3)


def test_a_class_never_predicted_counts_as_zero_in_macro_f1():
    one_hot = np.eye(3) * 5
    assert compute_metrics(predictions([0, 0, 1], one_hot[[0, 0, 0]])).macro_f1 == pytest.approx((0.8 + 0) / 2)


def test_scores_do_not_depend_on_order_or_batches():
    made = random_predictions(3, 31)
    order = np.random.default_rng(0).permutation(31)
    shuffled = predictions(made.labels[order], made.logits[order])
    one, other = compute_metrics(made), compute_metrics(shuffled)
    assert (one.hits, one.macro_f1, one.confusion.tolist()) == (other.hits, other.macro_f1, other.confusion.tolist())
    assert one.loss == pytest.approx(other.loss, rel=1e-12)


def test_scores_convert_to_an_epoch_result():
    found = compute_metrics(random_predictions(1))
    result = found.as_epoch_result(7)
    assert (result.epoch, result.hits, result.total) == (7, found.hits, found.total)
    assert (result.accuracy, result.macro_f1, result.loss) == (found.accuracy, found.macro_f1, found.loss)
    assert all(type(value) in (int, float) for value in (result.hits, result.macro_f1, result.loss))


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (1, 1, 0.2065, 1.0),
        (712, 734, 0.9550, 0.9801),
    ],
)
def test_wilson_intervals_of_known_value(hits, total, low, high):
    assert wilson_interval(hits, total) == pytest.approx((low, high), abs=6e-5)


def test_wilson_intervals_are_in_0_1_contain_the_proportion_and_shrink():
    for total in (1, 2, 7, 100, 5000):
        for hits in {0, 1, total // 2, total}:
            low, high = wilson_interval(hits, total)
            assert 0.0 <= low <= hits / total + 1e-12
            assert hits / total - 1e-12 <= high <= 1.0
            assert low < high
    widths = [high - low for low, high in (wilson_interval(9 * n, 10 * n) for n in (1, 10, 100))]
    assert widths == sorted(widths, reverse=True)


def test_the_scores_interval_is_wilsons_of_the_hits():
    found = compute_metrics(random_predictions(2))
    assert found.interval == wilson_interval(found.hits, found.total)


def two_class(confidences: list[float]) -> np.ndarray:
    return np.array([[share, 1 - share] for share in confidences])


@pytest.mark.parametrize(
    ("confidences", "labels", "expected"),
    [
        ([0.9, 0.9], [0, 1], 0.4),  # said 0.9, was 0.5
        ([0.9, 0.6], [0, 1], (0.1 + 0.6) / 2),  # two bins: too shy in one does not make up for too bold in the other
        ([1.0, 1.0], [0, 0], 0.0),  # certainty belongs to the last bin
        ([1.0, 1.0], [1, 1], 1.0),
        ([0.75, 0.75, 0.75, 0.75], [0, 0, 0, 1], 0.0),
        ([0.9, 0.9, 0.9, 0.6], [0, 0, 0, 1], (3 * 0.1 + 0.6) / 4),  # bins weigh by their pictures
    ],
)
def test_the_calibration_error_of_hand_made_cases(confidences, labels, expected):
    assert calibration_error(two_class(confidences), np.array(labels)) == pytest.approx(expected)


def test_the_calibration_error_has_15_bins():
    """0.61 and 0.66 lie in two of 15 bins (edge 0.6667 is above both: one bin), 0.66 and 0.67 in two."""
    together = calibration_error(two_class([0.61, 0.66]), np.array([0, 1]))
    apart = calibration_error(two_class([0.66, 0.67]), np.array([0, 1]))
    assert together == pytest.approx(abs(1 - 0.61 - 0.66) / 2)
    assert apart == pytest.approx((0.34 + 0.67) / 2)


def test_no_calibration_error_of_probabilities_that_are_not_numbers():
    """0.0 would call a model that diverged perfectly calibrated."""
    assert math.isnan(calibration_error(two_class([0.9, math.nan]), np.array([0, 1])))


def test_mean_recall_weighs_a_rare_class_as_a_frequent_one():
    one_hot = np.eye(3) * 5
    found = compute_metrics(predictions([0] * 8 + [1] + [2], one_hot[[0] * 8 + [0] + [2]]))
    assert found.accuracy == pytest.approx(0.9)
    assert found.mean_recall == pytest.approx((1 + 0 + 1) / 3)
    assert found.per_class[0]["recall_interval_95"] == pytest.approx(wilson_interval(8, 8))
    assert found.as_epoch_result(3).mean_recall == found.mean_recall


def test_the_text_starts_with_the_headline_metric():
    found = compute_metrics(random_predictions(4))
    assert format_scores(found).startswith("accuracy ")
    assert format_scores(found, "mean_recall").startswith(f"mean recall         {found.mean_recall:.4f}\naccuracy ")


def test_the_text_has_every_metric():
    found = compute_metrics(random_predictions(4))
    text = format_scores(found)
    low, high = found.interval
    for figure in (found.accuracy, low, high, found.macro_f1, found.loss, found.calibration_error):
        assert f"{figure:.4f}" in text
    assert f"{found.hits} of {found.total}" in text
    matrix = text.split("confusion matrix (rows: true, columns: predicted)\n")[1].splitlines()
    assert matrix[0].split() == list(CLASSES)
    for line, name, row in zip(matrix[1:], CLASSES, found.confusion, strict=True):
        assert line.split() == [name, *map(str, row)]


def test_the_text_of_very_many_classes_is_bounded_and_has_the_worst():
    count = 1000
    logits = np.eye(count, dtype=np.float32)
    logits[7] = logits[8]  # of class 7 no picture is right
    found = compute_metrics(
        Predictions(tuple(f"species {n}" for n in range(count)), ("x",) * count, np.arange(count), logits)
    )
    text = format_scores(found)
    assert len(text) < 4000
    table = text.split("\n\n")[1].splitlines()
    assert len(table) == 21
    assert table[1].startswith("species 7 ")
    assert "the worst 20 of 1000 classes; all of them are in per_class.json" in text
    assert "confusion matrix" not in text


def test_logit_adjustment_removes_the_prior():
    """Menon et al. 2021: tau 1 turns posteriors under one prior into those under equal priors (Bayes, by hand)."""
    likelihood, prior = np.array([[0.2, 0.5, 0.3]]), (0.7, 0.2, 0.1)
    given = Predictions(("a", "b", "c"), ("x",), np.array([1]), np.log(likelihood * prior).astype(np.float32))
    assert given.predicted.tolist() == [0]
    adjusted = given.adjusted(prior, 1.0)
    assert adjusted.predicted.tolist() == [1]
    assert adjusted.probabilities == pytest.approx(likelihood, rel=1e-5)
    assert (adjusted.ids, adjusted.labels.tolist(), adjusted.classes) == (given.ids, [1], given.classes)


def test_logit_adjustment_with_tau_0_changes_nothing():
    given = Predictions(("a", "b"), ("x",), np.array([1]), np.array([[0.1, 0.7]], dtype=np.float32))
    assert np.array_equal(given.adjusted((0.9, 0.1), 0.0).logits, given.logits)


@pytest.mark.parametrize("positions", [[], np.array([], dtype=int), np.zeros(2, dtype=bool)])
def test_a_part_may_be_empty(positions):
    whole = Predictions(("a", "b"), ("1", "2"), np.array([0, 1]), np.zeros((2, 2), dtype=np.float32))
    part = whole.part(positions)
    assert (part.ids, part.labels.shape, part.logits.shape) == ((), (0,), (0, 2))
