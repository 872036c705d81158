"""A run's predictions as read back from its `predictions.csv`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flowerml.evaluation.metrics import Predictions
from flowerml.text import CsvRows, distinct_nfc


@dataclass(frozen=True)
class PredictionTable:
    """What a run predicted: image names (in NFC) and class names, true class numbers (N,), and probabilities (N, C).

    `energies` (N,) are -logsumexp of the logits; None in tables of earlier versions.
    """

    images: tuple[str, ...]
    classes: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    energies: np.ndarray | None = None

    @property
    def predicted(self) -> np.ndarray:
        """The class numbers of the highest probabilities, (N,)."""
        return self.probabilities.argmax(axis=1)

    @property
    def confusion(self) -> np.ndarray:
        """Counts (C, C): rows are true classes, columns predicted ones."""
        size = len(self.classes)
        matrix = np.zeros((size, size), dtype=int)
        np.add.at(matrix, (self.labels, self.predicted), 1)
        return matrix

    def as_predictions(self) -> Predictions:
        """The table as a model's outputs: the logits, or without energies log probabilities (the same but for a
        constant in each row).
        """
        logits = np.log(np.maximum(self.probabilities, np.finfo(np.float32).tiny))
        if self.energies is not None:
            logits = logits - self.energies[:, None]
        return Predictions(self.classes, self.images, self.labels, logits.astype(np.float32))


def read_predictions(path: Path) -> PredictionTable | None:
    """Read a run's `predictions.csv`; None where it is missing or malformed."""
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            rows = list(CsvRows(handle))
        classes = tuple(name.removeprefix("p_") for name in rows[0] if name.startswith("p_"))
        labels = np.array([classes.index(row["label"]) for row in rows])
        probabilities = np.array([[float(row[f"p_{name}"]) for name in classes] for row in rows])
        energies = np.array([float(row["energy"]) for row in rows]) if "energy" in rows[0] else None
        images = tuple(distinct_nfc([row["image"] for row in rows]))
        return PredictionTable(images, classes, labels, probabilities, energies)
    except (OSError, ValueError, KeyError, IndexError):
        return None
