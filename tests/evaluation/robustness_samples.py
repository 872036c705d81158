"""Measurements of robustness from made-up predictions."""

import numpy as np

from flowerml.evaluation.corruptions import VIEWS
from flowerml.evaluation.metrics import Predictions
from flowerml.evaluation.robustness import measure_robustness

CLASSES, N = ("a", "b"), 60


def predictions_of(wrong):
    """Predictions for labels 0: the places of `wrong` are mistaken."""
    logits = np.tile(np.array([1.0, 0.0], np.float32), (N, 1))
    logits[list(wrong)] = [0.0, 1.0]
    return Predictions(CLASSES, tuple(map(str, range(N))), np.zeros(N, np.int64), logits)


def measured(**wrong):
    """Six clean mistakes; under a corruption those and so many more as named, at each strength."""
    clean = predictions_of(range(6))
    views = [predictions_of(range(6 + wrong.get(one.name, (0, 0, 0))[one.strengths.index(s)])) for one, s in VIEWS]
    return measure_robustness(clean, views)
