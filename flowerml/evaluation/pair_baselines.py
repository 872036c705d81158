"""What a relation run must beat: models that look at no pixel, trained on its own training pairs and judged on its own
validation pairs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flowerml.data.relations.geometry import BoxFeatures
from flowerml.data.relations.records import Pair
from flowerml.evaluation.metrics import wilson
from flowerml.evaluation.operating_point import recalls_of
from flowerml.models.pairs.box_network import NetworkSettings, PairNetwork
from flowerml.models.pairs.box_tables import Logistic, PairModel, Shares, labels_of
from flowerml.progress_bar import track


@dataclass(frozen=True)
class BaselineResult:
    """A baseline on `total` pairs. `recalls` (C,) in label order, NaN for a class without a pair; `mean_recall` over
    the others.

    `predicted` (N,) are its answers; None where it has none of its own ("class prior" gives expected figures).
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
        return wilson(round(self.accuracy * self.total), self.total)

    def as_json(self) -> dict[str, Any]:
        """Every figure as plain values."""
        recalls = [None if np.isnan(value) else value for value in self.recalls]
        figures = {
            "accuracy": self.accuracy,
            "accuracy_interval_95": list(self.interval),
            "mean_recall": self.mean_recall,
        }
        return {"name": self.name, **figures, "recalls": recalls, "total": self.total}

    def line(self) -> str:
        """As a person reads it."""
        low, high = self.interval
        shown = f"accuracy {100 * self.accuracy:5.1f} % ({100 * low:.1f} to {100 * high:.1f})"
        return f"{self.name:<32} {shown}   mean recall {100 * self.mean_recall:5.1f} %"


def run_baselines(
    train: Sequence[Pair], val: Sequence[Pair], classes: Sequence[str], kind: BoxFeatures, seed: int = 0
) -> list[BaselineResult]:
    """Every baseline, shown as it is trained: about a minute for 30,000 pairs.

    Majority; class prior (each pair answered by a draw from the training shares: its expected figures); logistic
    regression and a small network on box numbers of `kind`; logistic regression on box numbers and objects' names,
    where the pairs have names. Each class needs a training pair.
    """
    labels = labels_of(val, classes)
    shares = np.bincount(labels_of(train, classes), minlength=len(classes)) / len(train)
    results = []
    named = any(pair.subject_category is not None for pair in train)
    for name, model in track(list(_models(kind, len(train), seed, named=named)), "baselines"):
        model.fit(train, classes)
        results.append(_judged(name, model.log_probabilities(val).argmax(axis=1), labels, len(classes)))
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


def _models(kind: BoxFeatures, pairs: int, seed: int, *, named: bool) -> Iterator[tuple[str, PairModel]]:
    yield "majority", Shares()
    yield "box only, logistic regression", Logistic(kind, categories=False, balanced=False)
    # As many steps on a hundred pairs as on a thousand: an epoch of one batch would leave it where it began.
    epochs = max(NetworkSettings.epochs, round(7000 / max(1, pairs)))
    yield "box only, network", PairNetwork(NetworkSettings(kind=kind, categories=False, epochs=epochs, seed=seed))
    if named:
        yield "box + category, logistic regression", Logistic(kind, categories=True, balanced=False)


def _judged(name: str, predicted: np.ndarray, labels: np.ndarray, classes: int) -> BaselineResult:
    recalls = recalls_of(predicted, labels, classes)
    accuracy = float((predicted == labels).mean())
    return BaselineResult(name, accuracy, float(np.nanmean(recalls)), tuple(recalls.tolist()), len(labels), predicted)
