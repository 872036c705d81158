"""Whether a model's answer turns round when subject and object change places, as the relations themselves do."""

import numpy as np

from flowerml.data.relations.records import SWAPPED
from flowerml.evaluation.metrics import Predictions


def swap_consistency(predictions: Predictions, exchanged: Predictions) -> dict[str, float]:
    """Of the answers that have an opposite among the classes, the share [%] that turns into it when subject and object
    change places.

    `exchanged` are the answers to the same pairs, in the same order, with both in each other's place.
    """
    names = predictions.classes
    opposite = np.array([names.index(other) if (other := SWAPPED[name]) in names else -1 for name in names])[
        predictions.predicted
    ]
    judged = opposite >= 0
    agree = int((exchanged.predicted[judged] == opposite[judged]).sum())
    total = int(judged.sum())
    return {"swap_pairs": float(total)} | ({"swap_consistency_percent": 100 * agree / total} if total else {})
