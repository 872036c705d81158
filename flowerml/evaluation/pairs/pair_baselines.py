"""Baselines of a relation run: models without pixels, on the run's own training and validation pairs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flowerml.data.relations.geometry import BoxFeatures
from flowerml.data.relations.records import Pair
from flowerml.evaluation.metrics import wilson_interval
from flowerml.evaluation.pairs.operating_point import per_class_recall
from flowerml.models.pairs.tabular_models import ClassPrior, LogisticPairModel, PairModel, encode_labels
from flowerml.models.pairs.tabular_network import NetworkPairModel, NetworkSettings
from flowerml.progress_bar import track


@dataclass(frozen=True)
class BaselineResult:
    """A baseline's metrics on `total` pairs.

    `recalls` (C,) in label order, NaN for a class without pairs; `mean_recall` is over the others. `predicted` (N,) are
    class indices; None for "class prior", whose metrics are expected values.
    """

    name: str
    accuracy: float
    mean_recall: float
    recalls: tuple[float, ...]
    total: int
    predicted: np.ndarray | None

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the accuracy."""
        return wilson_interval(round(self.accuracy * self.total), self.total)

    def as_json(self) -> dict[str, Any]:
        """All metrics as plain values."""
        recalls = [None if np.isnan(value) else value for value in self.recalls]
        figures = {
            "accuracy": self.accuracy,
            "accuracy_interval_95": list(self.interval),
            "mean_recall": self.mean_recall,
        }
        return {"name": self.name, **figures, "recalls": recalls, "total": self.total}

    def line(self) -> str:
        """One line for a terminal."""
        low, high = self.interval
        shown = f"accuracy {100 * self.accuracy:5.1f} % ({100 * low:.1f} to {100 * high:.1f})"
        return f"{self.name:<32} {shown}   mean recall {100 * self.mean_recall:5.1f} %"


def run_baselines(
    train: Sequence[Pair], val: Sequence[Pair], classes: Sequence[str], kind: BoxFeatures, seed: int = 0
) -> list[BaselineResult]:
    """Fit and evaluate all baselines, with a progress bar; about a minute for 30,000 pairs.

    Majority; class prior (expected metrics of draws from the training frequencies); logistic regression and a small
    network on box features of `kind`; logistic regression on box features and categories, where pairs have categories.
    Each class needs a training pair.
    """
    labels = encode_labels(val, classes)
    shares = np.bincount(encode_labels(train, classes), minlength=len(classes)) / len(train)
    results = []
    named = any(pair.subject_category is not None for pair in train)
    for name, model in track(list(_baseline_models(kind, len(train), seed, named=named)), "baselines"):
        model.fit(train, classes)
        results.append(_evaluate_baseline(name, model.log_probabilities(val).argmax(axis=1), labels, len(classes)))
    present = np.bincount(labels, minlength=len(classes)) > 0
    recalls = np.where(present, shares, np.nan)
    prior = BaselineResult(
        "class prior",
        float(shares[labels].mean()),
        float(np.nanmean(recalls)),
        tuple(recalls.tolist()),
        len(labels),
        None,
    )
    return [results[0], prior, *results[1:]]


def _baseline_models(kind: BoxFeatures, pairs: int, seed: int, *, named: bool) -> Iterator[tuple[str, PairModel]]:
    yield "majority", ClassPrior()
    yield "box only, logistic regression", LogisticPairModel(kind, categories=False, balanced=False)
    # More epochs for few pairs: seven epochs of a single batch would hardly train it.
    epochs = max(NetworkSettings.epochs, round(7000 / max(1, pairs)))
    yield "box only, network", NetworkPairModel(NetworkSettings(kind=kind, categories=False, epochs=epochs, seed=seed))
    if named:
        yield "box + category, logistic regression", LogisticPairModel(kind, categories=True, balanced=False)


def _evaluate_baseline(name: str, predicted: np.ndarray, labels: np.ndarray, classes: int) -> BaselineResult:
    recalls = per_class_recall(predicted, labels, classes)
    accuracy = float((predicted == labels).mean())
    return BaselineResult(name, accuracy, float(np.nanmean(recalls)), tuple(recalls.tolist()), len(labels), predicted)
