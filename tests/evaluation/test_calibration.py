"""Calibration: the temperature that fits, what it does to photos that did not fit it, and sets that hold the truth."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from flowerml.evaluation.calibration import Calibration, class_probabilities
from flowerml.evaluation.calibration_values import prediction_sets
from flowerml.evaluation.fit_calibration import (
    calibration_halves,
    fit_calibration,
    fit_temperature,
    judge_calibration,
    measure_calibration,
)
from flowerml.evaluation.metrics import Predictions
from flowerml.reporting.figures.calibration_figure import calibration_figure
from flowerml.reporting.figures.drawing import png_bytes

CLASSES = ("daisy", "dandelion", "rose", "sunflower", "tulip")


def drawn(total: int, scale: float, seed: int = 0) -> Predictions:
    """Labels drawn from the softmax of random logits, which are then multiplied by `scale`: the right temperature."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(scale=2.0, size=(total, len(CLASSES)))
    shares = np.exp(log_softmax(logits, axis=1))
    labels = np.array([draw.choice(len(CLASSES), p=row) for row in shares])
    ids = tuple(f"{CLASSES[label]}/{index}.jpg" for index, label in enumerate(labels))
    return Predictions(CLASSES, ids, labels, (logits * scale).astype(np.float32))


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_the_temperature_that_the_labels_were_drawn_with_is_found(scale):
    predictions = drawn(20_000, scale)
    assert fit_temperature(predictions.logits, predictions.labels) == pytest.approx(scale, rel=0.05)


def test_no_other_temperature_has_a_lower_loss():
    predictions = drawn(2_000, 2.5)
    rows = np.arange(2_000)

    def loss(temperature):
        return -log_softmax(predictions.logits.astype(float) / temperature, axis=1)[rows, predictions.labels].mean()

    found = fit_temperature(predictions.logits, predictions.labels)
    grid = np.geomspace(0.1, 20, 2_000)
    assert found == pytest.approx(grid[np.argmin([loss(value) for value in grid])], rel=0.02)


def test_a_model_that_is_always_right_gets_a_finite_confidence():
    labels = np.arange(100) % 5
    logits = (np.eye(5)[labels] * 3).astype(np.float32)
    temperature = fit_temperature(logits, labels)
    share = class_probabilities(torch.from_numpy(logits), Calibration(temperature, np.zeros(1)))[0, 0]
    assert share == pytest.approx((100 + 1) / (100 + 2), abs=1e-4)  # Platt's target


@pytest.mark.parametrize("scale", [0.3, 4.0])
def test_photos_that_did_not_fit_it_are_calibrated_too(scale):
    report = measure_calibration(drawn(1_000, scale))
    assert report.loss_after < report.loss_before - 0.05
    assert report.error_after < 0.5 * report.error_before
    assert report.coverage == pytest.approx(0.95, abs=0.02)


def test_a_temperature_that_helps_no_other_photo_is_none():
    """Labels that have nothing to do with the logits: each half's temperature says as much of the other as chance."""
    draw = np.random.default_rng(4)
    base = drawn(60, 1.0)
    reports = [
        measure_calibration(replace(base, labels=draw.integers(0, 5, 60), logits=np.zeros((60, 5), np.float32)))
        for _ in range(3)
    ]
    assert not any(report.helps for report in reports)
    assert all("none" in report.line(1.0) for report in reports)
    assert fit_calibration(base, scaled=False).temperature == 1.0
    assert measure_calibration(drawn(400, 4.0)).helps


def test_sets_cover_on_twenty_random_halves():
    predictions = drawn(1_600, 2.0)
    coverages = []
    for turn in range(20):
        first = calibration_halves(predictions, turn)
        fitted, judged = predictions.part(first), predictions.part(~first)
        calibration = fit_calibration(fitted)
        shares = class_probabilities(torch.from_numpy(judged.logits), calibration)
        sets = prediction_sets(shares, calibration, 0.95)
        coverages.append(np.mean([label in members for label, members in zip(judged.labels, sets, strict=True)]))
    assert np.mean(coverages) == pytest.approx(0.95, abs=0.01)
    assert min(coverages) > 0.92


def test_the_quantile_is_that_of_split_conformal_prediction():
    calibration = Calibration(1.0, np.linspace(0.01, 0.19, 19).astype(np.float32))
    assert calibration.threshold(0.95) == pytest.approx(0.19)  # the 19th of 19: (19 + 1) * 0.95
    assert calibration.threshold(0.90) == pytest.approx(0.18)
    shares = np.array([[0.85, 0.1, 0.05], [0.4, 0.35, 0.25]], np.float32)
    assert prediction_sets(shares, calibration, 0.95) == [[0], [0]]  # never empty
    assert prediction_sets(shares, calibration, 0.96) == [[0, 1, 2], [0, 1, 2]]  # 19 photos cannot tell 96 %
    assert prediction_sets(shares, replace(calibration, scores=np.full(99, 0.9, np.float32)), 0.95) == [
        [0, 1],
        [0, 1, 2],
    ]


@pytest.mark.parametrize("coverage", [0, 1, -0.5, float("nan")])
def test_a_coverage_that_is_none_is_refused(coverage):
    with pytest.raises(ValueError, match="Allowed: a number between 0 and 1"):
        Calibration(1.0, np.zeros(9, np.float32)).threshold(coverage)


def test_halves_are_stratified_equal_and_independent_of_the_order():
    predictions = drawn(501, 1.0)
    first = calibration_halves(predictions)
    assert abs(first.sum() - (~first).sum()) <= 1
    for label in range(len(CLASSES)):
        own = predictions.labels == label
        assert abs((first & own).sum() - (~first & own).sum()) <= 1
    order = np.random.default_rng(1).permutation(501)
    shuffled = replace(predictions, ids=tuple(predictions.ids[i] for i in order), labels=predictions.labels[order])
    assert (calibration_halves(shuffled) == first[order]).all()
    assert (calibration_halves(predictions, 5) != first).any()


def test_plain_values_give_the_same_calibration_and_damaged_ones_none():
    calibration = fit_calibration(drawn(60, 2.0))
    again = Calibration.from_plain(calibration.as_plain())
    assert again is not None
    assert again.temperature == calibration.temperature
    assert (again.scores == calibration.scores).all()
    assert Calibration.from_plain(None) is None
    plain = calibration.as_plain()
    for damaged in (
        {},
        "2.0",
        {**plain, "temperature": 0.0},
        {**plain, "temperature": float("nan")},
        {**plain, "scores": torch.tensor([0.3, 0.1])},
        {**plain, "scores": torch.zeros(0)},
    ):
        with pytest.raises(ValueError, match="calibration"):
            Calibration.from_plain(damaged)


def test_the_figure_is_reproducible_and_says_what_was_measured():
    report = measure_calibration(drawn(120, 3.0))
    assert png_bytes(calibration_figure(report, 3.0)) == png_bytes(calibration_figure(report, 3.0))
    texts = " ".join(text.get_text() for text in calibration_figure(report, 3.0).texts)
    assert "120 validation photos" in texts
    assert "cross-fitting" in texts


def test_energies_are_those_of_the_logits_and_95_percent_count_as_known():
    predictions = drawn(200, 2.0)
    calibration = fit_calibration(predictions)
    energies = -np.log(np.exp(predictions.logits.astype(float)).sum(axis=1))
    assert calibration.energies == pytest.approx(np.sort(energies), abs=1e-4)
    assert (energies <= calibration.known_energy + 1e-4).sum() == 190
    assert judge_calibration(predictions, calibration)["unknown_share"] == pytest.approx(0.05)
    assert fit_calibration(predictions, energies=False).known_energy is None
    assert "unknown_share" not in judge_calibration(predictions, fit_calibration(predictions, energies=False))


def test_a_stored_calibration_is_read_back_with_energies_and_without():
    for energies in (None, np.array([-3.0, 1.0], np.float32)):
        stored = Calibration(1.5, np.array([0.1, 0.2], np.float32), energies)
        read = Calibration.from_plain(stored.as_plain())
        assert (read.temperature, read.scores.tolist()) == (1.5, stored.scores.tolist())
        assert (read.energies is None) if energies is None else (read.energies.tolist() == [-3.0, 1.0])


@pytest.mark.parametrize(
    "energies", [torch.tensor([2.0, 1.0]), torch.tensor([0.0, float("nan")]), torch.zeros(0), [1.0]]
)
def test_energies_that_are_none_are_refused(energies):
    plain = {"temperature": 1.0, "scores": torch.zeros(2), "energies": energies}
    with pytest.raises(ValueError, match="ascending order"):
        Calibration.from_plain(plain)
