"""Whether predictions turn into the inverse relation when subject and object are swapped."""

import numpy as np

from flowerml.data.relations.records import SWAPPED
from flowerml.evaluation.metrics import Predictions


def swap_consistency(predictions: Predictions, swapped: Predictions) -> dict[str, float]:
    """Share [%] of predictions that turn into the inverse relation when subject and object are swapped.

    Only predictions whose inverse is a class count (`swap_pairs`). `swapped` are the predictions for the same pairs, in
    the same order, with subject and object swapped.
    """
    names = predictions.classes
    inverse = np.array(
        [names.index(name_swapped) if (name_swapped := SWAPPED[name]) in names else -1 for name in names]
    )[predictions.predicted]
    counted = inverse >= 0
    agree = int((swapped.predicted[counted] == inverse[counted]).sum())
    total = int(counted.sum())
    return {"swap_pairs": float(total)} | ({"swap_consistency_percent": 100 * agree / total} if total else {})
