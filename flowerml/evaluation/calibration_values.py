"""What calibration stores, on NumPy alone: a temperature, scores and energies of the validation photos."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

KNOWN_SHARE = 0.95  # of the validation photos that are known to be one of the classes, by their energy


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class CalibrationValues:
    """What the validation photos say about a model's probabilities.

    The logits are divided by `temperature` (Guo et al., "On calibration of modern neural networks", ICML 2017): the
    order of the classes stays. `scores` (N,) float32, ascending, are 1 - the calibrated probability of the true class
    of each validation photo (Sadinle et al., "Least ambiguous set-valued classifiers", JASA 2019). `energies` (N,)
    float32, ascending, are those of the validation photos (`energy_of`); None where they are not known.
    """

    temperature: float
    scores: np.ndarray
    energies: np.ndarray | None = None

    def threshold(self, coverage: float) -> float:
        """The largest score of a class in a set: split conformal prediction's quantile; above 1 all classes are in it.

        Raises:
            ValueError: `coverage` is not between 0 and 1.
        """
        if not 0 < coverage < 1:
            raise ValueError(f"coverage is {coverage!r}. Allowed: a number between 0 and 1, such as 0.95")
        rank = math.ceil((len(self.scores) + 1) * coverage - 1e-9)  # 0.95 * 20 is 19.000000000000004
        return float(self.scores[rank - 1]) if rank <= len(self.scores) else 2.0

    @property
    def known_energy(self) -> float | None:
        """The largest energy of a photo that counts as one of the classes: 95 % of the validation photos do."""
        if self.energies is None:
            return None
        return float(self.energies[math.ceil(KNOWN_SHARE * len(self.energies) - 1e-9) - 1])


def prediction_sets(probabilities: np.ndarray, calibration: CalibrationValues, coverage: float) -> list[list[int]]:
    """For each row of calibrated probabilities (N, C) the classes of its set, the likeliest first; never none.

    A set holds the true class with at least the probability `coverage`, for photos like the validation photos.

    Raises:
        ValueError: `coverage` is not between 0 and 1.
    """
    limit = calibration.threshold(coverage)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    sizes = np.maximum((1 - probabilities.astype(np.float32) <= np.float32(limit)).sum(axis=1), 1)
    return [row[:size].tolist() for row, size in zip(order, sizes, strict=True)]
