"""From predictions to scores: count first, then divide once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import log_softmax, softmax
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from flowerml.selection.epochs import EpochResult

_BINS = 15  # of the calibration error, as Guo et al. 2017


@dataclass(frozen=True)
class Predictions:
    """What a model said of some examples, in their order: ids, true class numbers (N,) int64, logits (N, C) float32."""

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    labels: np.ndarray
    logits: np.ndarray

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, (N, C) float64."""
        return softmax(self.logits.astype(np.float64), axis=1)

    @cached_property
    def predicted(self) -> np.ndarray:
        """The class numbers of the largest logits, (N,); the first class wins a tie."""
        return self.logits.argmax(axis=1)

    def adjusted(self, prior: Sequence[float], tau: float) -> "Predictions":
        """The same with tau x log(prior) taken off the logits: post-hoc logit adjustment (Menon et al. 2021).

        `prior` (C,) are the shares the model takes the classes to have; tau 1 asks it to think of all classes as
        equally frequent.
        """
        offsets = tau * np.log(np.asarray(prior, dtype=np.float64))
        return replace(self, logits=(self.logits - offsets).astype(np.float32))


@dataclass(frozen=True)
class Scores:
    """Scores of `total` examples. `interval` is the 95 % Wilson interval of the accuracy; `calibration_error` is in
    0..1.

    `mean_recall` is the mean over the classes that occur: every class counts the same, however rare. `per_class` has,
    for each class in label order, precision, recall with its 95 % Wilson interval, f1 and support; `confusion` counts
    true rows by predicted columns.
    """

    classes: tuple[str, ...]
    hits: int
    total: int
    interval: tuple[float, float]
    macro_f1: float
    mean_recall: float
    loss: float
    calibration_error: float
    per_class: tuple[dict[str, Any], ...]
    confusion: np.ndarray

    @property
    def accuracy(self) -> float:
        """hits / total."""
        return self.hits / self.total

    def at(self, epoch: int) -> EpochResult:
        """The part by which epochs are compared."""
        return EpochResult(epoch, self.hits, self.total, self.macro_f1, self.loss, self.mean_recall)

    def as_json(self) -> dict[str, Any]:
        """Every score as plain values."""
        return {
            "accuracy": self.accuracy,
            "accuracy_interval_95": list(self.interval),
            "hits": self.hits,
            "total": self.total,
            "macro_f1": self.macro_f1,
            "mean_recall": self.mean_recall,
            "loss": self.loss,
            "calibration_error": self.calibration_error,
            "per_class": list(self.per_class),
            "confusion_matrix": {"classes": list(self.classes), "rows_true_columns_predicted": self.confusion.tolist()},
        }


def compute_metrics(predictions: Predictions) -> Scores:
    """All scores of some predictions (at least one)."""
    labels, predicted = predictions.labels, predictions.predicted
    numbers = range(len(predictions.classes))
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=list(numbers), zero_division=0
    )
    confusion = confusion_matrix(labels, predicted, labels=list(numbers))
    hits = int((labels == predicted).sum())
    own = log_softmax(predictions.logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels]
    return Scores(
        classes=predictions.classes,
        hits=hits,
        total=len(labels),
        interval=wilson(hits, len(labels)),
        # A class that does not occur (a part of the data) has no F1; counting it as 0 would punish what can't be shown.
        macro_f1=float(f1[support > 0].mean()),
        mean_recall=float(recall[support > 0].mean()),
        loss=float(-own.mean()),
        calibration_error=calibration_error(predictions.probabilities, labels),
        per_class=tuple(
            {
                "class": predictions.classes[i],
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "recall_interval_95": list(wilson(int(confusion[i, i]), int(support[i]))) if support[i] else None,
                "f1": float(f1[i]),
                "support": int(support[i]),
            }
            for i in numbers
        ),
        confusion=confusion,
    )


def wilson(hits: float, total: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """The Wilson score interval of a share (95 % by default): sound near 0 and 1, where hits/total +- z s is not.

    `hits` may be a mean of whole numbers, over models that were judged on the same `total` examples.
    """
    share, spread = hits / total, z * z / total
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    return max(0.0, centre - half), min(1.0, centre + half)


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error over 15 equal bins of confidence (Guo et al. 2017). `probabilities` (N, C), `labels`
    (N,).
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    places = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = [abs(right[places == place].sum() - confidence[places == place].sum()) for place in range(_BINS)]
    return float(sum(gaps) / len(labels))


def text_report(scores: Scores, headline: str = "accuracy") -> str:
    """The scores as a person reads them on a terminal, first the one that `headline` names (accuracy or mean_recall)."""
    low, high = scores.interval
    width = max(len(name) for name in (*scores.classes, "class"))
    first = {
        "accuracy": (
            f"accuracy            {scores.accuracy:.4f}  ({scores.hits} of {scores.total}; 95 % interval {low:.4f} to"
            f" {high:.4f})"
        ),
        "mean_recall": f"mean recall         {scores.mean_recall:.4f}",
    }
    lines = [
        first.pop(headline),
        *first.values(),
        f"macro-F1            {scores.macro_f1:.4f}",
        f"loss                {scores.loss:.4f}",
        f"calibration error   {scores.calibration_error:.4f}",
        "",
        f"{'class':<{width}}  precision  recall  (95 % interval)       F1       n",
        *(
            f"{row['class']:<{width}}  {row['precision']:9.4f}  {_recall(row)}  {row['f1']:6.4f}  {row['support']:6d}"
            for row in scores.per_class
        ),
        "",
        "confusion matrix (rows: true, columns: predicted)",
        *_matrix_lines(scores.classes, scores.confusion),
    ]
    return "\n".join(lines)


def _recall(row: dict[str, Any]) -> str:
    interval = row["recall_interval_95"]
    return f"{row['recall']:6.4f}  " + (f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else "not in these data")


def _matrix_lines(classes: Sequence[str], matrix: np.ndarray) -> list[str]:
    width = max(len(name) for name in classes)
    column = max(5, len(str(matrix.max())), *(min(len(name), 12) for name in classes))
    header = " " * width + "".join(f"  {name[:12]:>{column}}" for name in classes)
    return [
        header,
        *(
            f"{name:<{width}}" + "".join(f"  {n:>{column}d}" for n in row)
            for name, row in zip(classes, matrix, strict=True)
        ),
    ]
