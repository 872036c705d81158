"""Fit a calibration to validation predictions, and measure on photos that did not take part in the fit what it does."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax

from flowerml.data.splits.halves import split_halves
from flowerml.evaluation.calibration import Calibration, energy_of
from flowerml.evaluation.calibration_values import prediction_sets
from flowerml.evaluation.metrics import Predictions, calibration_error

MIN_EXAMPLES = 50  # with fewer, a temperature says more about chance than about the model
COVERAGE = 0.95
_LOG_TEMPERATURES = (np.log(0.02), np.log(50.0))


@dataclass(frozen=True)
class CalibrationReport:
    """What a calibration does, measured by cross-fitting: each half of the photos with the calibration of the other.

    `loss` is the mean negative log-likelihood, `error` the expected calibration error (15 bins), before and after.
    `coverage` is the share of photos whose set (at 95 %) holds the true class, `set_size` the mean number of its
    classes. `confidence` (N,) is the probability of the predicted class, before and after, and `right` (N,) whether it
    is the true one.
    """

    total: int
    loss_before: float
    loss_after: float
    error_before: float
    error_after: float
    coverage: float
    set_size: float
    confidence_before: np.ndarray
    confidence_after: np.ndarray
    right: np.ndarray

    @property
    def helps(self) -> bool:
        """Whether a temperature lowers the loss of photos that did not fit it."""
        return self.loss_after < self.loss_before

    def line(self, temperature: float) -> str:
        """For the terminal."""
        if not self.helps:
            return "calibration         none: no temperature lowers the loss of photos that did not fit it"
        return (
            f"calibration         temperature {temperature:.2f}: loss {self.loss_before:.4f} to {self.loss_after:.4f},"
            f" calibration error {self.error_before:.4f} to {self.error_after:.4f} (photos that did not fit it)"
        )

    def as_metrics(self, temperature: float) -> dict[str, float]:
        """The figures as MLflow metrics."""
        return {
            "calibration_temperature": temperature,
            "calibration_loss_before": self.loss_before,
            "calibration_loss_after": self.loss_after,
            "calibration_error_before": self.error_before,
            "calibration_error_after": self.error_after,
            "set_coverage": self.coverage,
            "set_size": self.set_size,
        }

    def as_json(self, calibration: Calibration, runs: Sequence[str]) -> dict[str, Any]:
        """The content of `calibration.json`. `runs`: those whose predictions fitted it; empty for the model's own."""
        return {
            "temperature": calibration.temperature,
            "fitted_on": self.total,
            **({"predictions_of_runs": list(runs)} if runs else {}),
            "measured_by": "cross-fitting: each half of the validation photos with the calibration of the other half",
            "loss": {"before": self.loss_before, "after": self.loss_after},
            "calibration_error": {"before": self.error_before, "after": self.error_after},
            "sets": {"wanted_coverage": COVERAGE, "coverage": self.coverage, "mean_size": self.set_size},
        }


def fit_calibration(predictions: Predictions, *, scaled: bool = True, energies: bool = True) -> Calibration:
    """The calibration of a model with these predictions (at least one) of photos that it was not trained on.

    Without `scaled` the temperature is 1: probabilities stay as they are. `energies` False leaves those out: of logits
    that are log probabilities all are 0.
    """
    temperature = fit_temperature(predictions.logits, predictions.labels) if scaled else 1.0
    own = _scaled(predictions, temperature).probabilities[np.arange(len(predictions.labels)), predictions.labels]
    return Calibration(
        temperature,
        np.sort((1 - own.astype(np.float32)).astype(np.float32)),
        np.sort(energy_of(torch.from_numpy(predictions.logits))) if energies else None,
    )


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the lowest negative log-likelihood for logits (N, C) of true class indices (N,).

    The target is (N + 1) / (N + 2) for the true class, as in Platt (1999), and the others share the rest: a model
    that is right on every photo would get a temperature of 0 otherwise.
    """
    from scipy.optimize import minimize  # a third of a second of imports, so not at the start of a training

    total, classes = logits.shape
    z = logits.astype(np.float64)
    target = np.full(z.shape, 1 / (total + 2) / max(1, classes - 1))
    target[np.arange(total), labels] = (total + 1) / (total + 2)
    expected = (target * z).sum(axis=1)

    def loss_and_slope(at: np.ndarray) -> tuple[float, np.ndarray]:
        inverse = float(np.exp(-at[0]))
        logs = log_softmax(z * inverse, axis=1)
        loss = -(target * logs).sum(axis=1).mean()
        slope = ((expected - (np.exp(logs) * z).sum(axis=1)) * inverse).mean()
        return float(loss), np.array([slope])

    found = minimize(loss_and_slope, np.zeros(1), jac=True, method="L-BFGS-B", bounds=[_LOG_TEMPERATURES])
    return float(np.exp(found.x[0]))


def measure_calibration(predictions: Predictions) -> CalibrationReport:
    """What a calibration does for predictions (at least two), by cross-fitting between two stratified halves."""
    first = calibration_halves(predictions)
    after = np.empty(predictions.logits.shape)
    covered = np.empty(len(first), dtype=bool)
    sizes = np.empty(len(first))
    for judged in (first, ~first):
        calibration = fit_calibration(predictions.part(~judged))
        after[judged] = _scaled(predictions.part(judged), calibration.temperature).probabilities
        sets = prediction_sets(after[judged], calibration, COVERAGE)
        covered[judged] = [label in members for label, members in zip(predictions.labels[judged], sets, strict=True)]
        sizes[judged] = [len(members) for members in sets]
    before, labels = predictions.probabilities, predictions.labels
    return CalibrationReport(
        total=len(labels),
        loss_before=_loss(before, labels),
        loss_after=_loss(after, labels),
        error_before=calibration_error(before, labels),
        error_after=calibration_error(after, labels),
        coverage=float(covered.mean()),
        set_size=float(sizes.mean()),
        confidence_before=before.max(axis=1),
        confidence_after=after.max(axis=1),
        right=predictions.predicted == labels,
    )


def judge_calibration(predictions: Predictions, calibration: Calibration) -> dict[str, float]:
    """What a calibration does for predictions of other photos than those that fitted it: loss, error, sets (95 %)."""
    after = _scaled(predictions, calibration.temperature).probabilities
    sets = prediction_sets(after, calibration, COVERAGE)
    covered = [label in members for label, members in zip(predictions.labels, sets, strict=True)]
    return {
        "calibrated_loss": _loss(after, predictions.labels),
        "calibrated_error": calibration_error(after, predictions.labels),
        "set_coverage": float(np.mean(covered)),
        "set_size": float(np.mean([len(members) for members in sets])),
        **_unknown_share(predictions, calibration),
    }


def _unknown_share(predictions: Predictions, calibration: Calibration) -> dict[str, float]:
    """The share of photos that count as none of the classes, where the calibration can tell."""
    limit = calibration.known_energy
    if limit is None:
        return {}
    return {"unknown_share": float((energy_of(torch.from_numpy(predictions.logits)) > limit).mean())}


def calibration_halves(predictions: Predictions, seed: int = 0) -> np.ndarray:
    """Which photos are in the first half, (N,) bool: half of every class, the same ones in whatever order they come.

    A photo that several runs predicted is in one half. Near-duplicates may be in both: only a temperature and a
    quantile are fitted, which memorise no photo.
    """
    place = {photo: number for number, photo in enumerate(dict.fromkeys(predictions.ids))}
    groups = [place[photo] for photo in predictions.ids]
    first, _ = split_halves(predictions.ids, predictions.labels.tolist(), groups, seed)
    chosen = np.zeros(len(groups), dtype=bool)
    chosen[first] = True
    return chosen


def _scaled(predictions: Predictions, temperature: float) -> Predictions:
    return replace(predictions, logits=predictions.logits.astype(np.float64) / temperature)


def _loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    own = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(own, np.finfo(np.float64).tiny)).mean())
