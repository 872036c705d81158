"""Metrics of predictions: counts first, one division at the end.

Weighed against scikit-learn, SciPy and torchmetrics: `sklearn.metrics` gives the same numbers (a test compares them),
but its import takes a tenth of the start of a training, for what is one `bincount` and three divisions; the Wilson
interval is written out because it must take a mean count over seeds, and `scipy.stats.binomtest` takes integers only;
the calibration error is five lines of NumPy, for which torchmetrics would be one more dependency.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import log_softmax, softmax

from flowerml.selection.epochs import EpochResult

MANY_CLASSES = 40  # with more, texts have the worst classes only
_WORST_CLASSES = 20
_BINS = 15  # of the calibration error, as in Guo et al. 2017


@dataclass(frozen=True)
class Predictions:
    """A model's outputs for examples, in order: ids, true class indices (N,) int64, logits (N, C) float32."""

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
        """Class indices of the largest logits, (N,); the first class wins a tie."""
        return self.logits.argmax(axis=1)

    def part(self, positions: Sequence[int] | np.ndarray) -> "Predictions":
        """The predictions at these positions (or of a mask (N,)), in their order."""
        chosen = np.asarray(positions)
        index = np.arange(len(self.ids))[chosen if chosen.size else chosen.astype(np.intp)]  # of none: float by default
        return replace(
            self, ids=tuple(self.ids[i] for i in index), labels=self.labels[index], logits=self.logits[index]
        )

    def adjusted(self, prior: Sequence[float], tau: float) -> "Predictions":
        """Post-hoc logit adjustment: tau x log(prior) subtracted from the logits (Menon et al. 2021).

        `prior` (C,) are the class frequencies of the training; tau 1 gives predictions for equally frequent classes.
        """
        offsets = tau * np.log(np.asarray(prior, dtype=np.float64))
        return replace(self, logits=(self.logits - offsets).astype(np.float32))


def join_predictions(parts: Sequence[Predictions]) -> Predictions:
    """Predictions of examples that were evaluated in parts, in the order of the parts."""
    if len(parts) == 1:
        return parts[0]
    return Predictions(
        parts[0].classes,
        tuple(name for part in parts for name in part.ids),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.logits for part in parts]),
    )


@dataclass(frozen=True)
class Scores:
    """Metrics of `total` examples. `interval` is the 95 % Wilson interval of the accuracy. All but `loss` are in 0..1.

    `macro_f1` and `mean_recall` are means over the classes that occur. `per_class` has, in label order, precision,
    recall with its 95 % Wilson interval, F1 and support; `confusion` (C, C) has true classes as rows.
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

    def as_epoch_result(self, epoch: int) -> EpochResult:
        """The metrics by which epochs are compared."""
        return EpochResult(epoch, self.hits, self.total, self.macro_f1, self.loss, self.mean_recall)

    def as_json(self) -> dict[str, Any]:
        """All metrics as plain values."""
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
    """All metrics of predictions (at least one)."""
    labels, predicted = predictions.labels, predictions.predicted
    indices = range(len(predictions.classes))
    confusion = confusion_matrix(labels, predicted, len(predictions.classes))
    right, support, answers = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall, f1 = _ratio(right, answers), _ratio(right, support), _ratio(2 * right, support + answers)
    hits = int((labels == predicted).sum())
    own = log_softmax(predictions.logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels]
    return Scores(
        classes=predictions.classes,
        hits=hits,
        total=len(labels),
        interval=wilson_interval(hits, len(labels)),
        # A class without examples (in a part of the data) has no F1: it is left out, not counted as 0.
        macro_f1=float(f1[support > 0].mean()),
        mean_recall=float(recall[support > 0].mean()),
        loss=float(-own.mean()),
        calibration_error=calibration_error(predictions.probabilities, labels),
        per_class=tuple(
            {
                "class": predictions.classes[i],
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "recall_interval_95": list(wilson_interval(int(confusion[i, i]), int(support[i])))
                if support[i]
                else None,
                "f1": float(f1[i]),
                "support": int(support[i]),
            }
            for i in indices
        ),
        confusion=confusion,
    )


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts (C, C) of true class (rows) by predicted class (columns), from class indices (N,) each."""
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, and 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def wilson_interval(hits: float, total: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """The Wilson score interval of a proportion (95 % by default), valid also near 0 and 1 (Wilson 1927).

    `hits` may be a mean count over models evaluated on the same `total` examples.
    """
    p, z2_n = hits / total, z * z / total
    centre = (p + z2_n / 2) / (1 + z2_n)
    half = z / (1 + z2_n) * math.sqrt(p * (1 - p) / total + z2_n / (4 * total))
    return max(0.0, centre - half), min(1.0, centre + half)


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error over 15 equal-width bins (Guo et al. 2017); `probabilities` (N, C), `labels` (N,).

    NaN where a probability is: such an example belongs to no bin.
    """
    confidence = probabilities.max(axis=1)
    if np.isnan(confidence).any():
        return math.nan
    correct = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = [abs(correct[bins == i].sum() - confidence[bins == i].sum()) for i in range(_BINS)]
    return float(sum(gaps) / len(labels))


def format_scores(scores: Scores, headline: str = "accuracy") -> str:
    """The metrics as text for a terminal, `headline` (accuracy or mean_recall) first.

    Of more than 40 classes, the 20 with the lowest recall, and no confusion matrix.
    """
    low, high = scores.interval
    shown: Sequence[dict[str, Any]] = scores.per_class
    if len(scores.classes) > MANY_CLASSES:
        shown = worst_classes(scores)
        matrix = [f"the worst {len(shown)} of {len(scores.classes)} classes; all of them are in per_class.json"]
    else:
        matrix = ["confusion matrix (rows: true, columns: predicted)"]
        matrix += _confusion_lines(scores.classes, scores.confusion)
    width = max(len(name) for name in (*(row["class"] for row in shown), "class"))
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
        *(_class_line(row, width) for row in shown),
        "",
        *matrix,
    ]
    return "\n".join(lines)


def worst_classes(scores: Scores) -> list[dict[str, Any]]:
    """The rows of up to 20 classes with the lowest recall (then F1) among those that occur, the lowest first."""
    occurring = [row for row in scores.per_class if row["support"]]
    return sorted(occurring, key=lambda row: (row["recall"], row["f1"]))[:_WORST_CLASSES]


def _class_line(row: dict[str, Any], width: int) -> str:
    low_high = row["recall_interval_95"]
    interval = f"{low_high[0]:.4f} to {low_high[1]:.4f}" if low_high else "not in these data"
    recall = f"{row['recall']:6.4f}  {interval}"
    return f"{row['class']:<{width}}  {row['precision']:9.4f}  {recall}  {row['f1']:6.4f}  {row['support']:6d}"


def _confusion_lines(classes: Sequence[str], matrix: np.ndarray) -> list[str]:
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
