"""The visual baseline of a relation run: a linear probe on backbone features, without box features."""

import numpy as np

from flowerml.evaluation.pairs.operating_point import per_class_recall
from flowerml.evaluation.pairs.pair_baselines import BaselineResult

_C = 0.01  # inverse of the L2 penalty: features are many, and examples few


def visual_baseline(
    train: np.ndarray, train_labels: np.ndarray, val: np.ndarray, val_labels: np.ndarray, classes: int
) -> BaselineResult:
    """Logistic regression on features (N, F) with labels (N,), evaluated on the validation examples."""
    mean, deviation = train.mean(axis=0), train.std(axis=0) + 1e-6
    from sklearn.linear_model import LogisticRegression  # late: its import takes a second, and few runs need it

    model = LogisticRegression(C=_C, max_iter=200, tol=1e-3).fit((train - mean) / deviation, train_labels)
    predicted = model.predict((val - mean) / deviation)
    recalls = per_class_recall(predicted, val_labels, classes)
    return BaselineResult(
        "visual only, logistic regression",
        float((predicted == val_labels).mean()),
        float(np.nanmean(recalls)),
        tuple(recalls.tolist()),
        len(val_labels),
        predicted,
    )
