"""Which pictures to look at next, and of which classes more are wanted, from out-of-sample probabilities."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flowerml.evaluation.metrics import wilson_interval

# Shannon entropy (in nats) and mutual information of several models' predictions: Houlsby et al. 2011, "Bayesian Active
# Learning for Classification and Preference Learning" (BALD).
_TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class UncertainPicture:
    """A picture between two classes, the more probable one first, with both probabilities. `label` is its folder's."""

    key: str
    label: str
    first: str
    second: str
    p_first: float
    p_second: float

    @property
    def margin(self) -> float:
        """Probability of the first class minus that of the second: small where the model can't tell."""
        return self.p_first - self.p_second


@dataclass(frozen=True)
class ClassNeed:
    """How well a class is recognised, out of sample: `hits` of `total`, and what its errors are taken for most often.

    `interval` is the recall's 95 % Wilson interval; `taken_for` is empty where there is no error.
    """

    name: str
    hits: int
    total: int
    interval: tuple[float, float]
    taken_for: str
    taken_for_count: int

    @property
    def recall(self) -> float:
        """hits / total."""
        return self.hits / self.total


@dataclass(frozen=True)
class ConfusedPair:
    """Two classes that are taken for each other, in either direction, and how often."""

    first: str
    second: str
    errors: int


def find_uncertain_pictures(
    keys: Sequence[str], labels: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...], first: int
) -> list[UncertainPicture]:
    """The `first` pictures with the smallest margin between their two most probable classes, the smallest first.

    `labels` (N,) class indices, `probabilities` (N, C) out-of-sample, C at least 2. (Margin sampling, Settles 2009,
    "Active Learning Literature Survey", section 3.1.)
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    rows = np.arange(len(labels))
    margins = probabilities[rows, order[:, 0]] - probabilities[rows, order[:, 1]]
    chosen = sorted(range(len(labels)), key=lambda row: (margins[row], keys[row]))[:first]
    return [
        UncertainPicture(
            key=keys[row],
            label=classes[labels[row]],
            first=classes[order[row, 0]],
            second=classes[order[row, 1]],
            p_first=float(probabilities[row, order[row, 0]]),
            p_second=float(probabilities[row, order[row, 1]]),
        )
        for row in chosen
    ]


def class_needs(confusion: np.ndarray, classes: tuple[str, ...]) -> list[ClassNeed]:
    """The classes by recall, the lowest first, from counts (C, C) with true classes as rows; without absent classes."""
    needs = []
    for number, name in enumerate(classes):
        row = confusion[number].astype(int)
        total, hits = int(row.sum()), int(row[number])
        if not total:
            continue
        errors = row.copy()
        errors[number] = 0
        most = int(errors.argmax())
        count = int(errors[most])
        needs.append(ClassNeed(name, hits, total, wilson_interval(hits, total), classes[most] if count else "", count))
    return sorted(needs, key=lambda need: (need.recall, need.name))


def confused_pairs(confusion: np.ndarray, classes: tuple[str, ...]) -> list[ConfusedPair]:
    """Pairs of classes that are taken for each other, the most frequent first, from counts (C, C)."""
    errors: Counter[tuple[str, str]] = Counter()
    for row, column in np.argwhere(confusion):
        if row != column:
            errors[classes[min(row, column)], classes[max(row, column)]] += int(confusion[row, column])
    return [ConfusedPair(*pair, count) for pair, count in sorted(errors.items(), key=lambda item: (-item[1], item[0]))]


def disagreement(probabilities: np.ndarray) -> np.ndarray:
    """How much models disagree on each picture: the mutual information (N,) in nats of probabilities (M, N, C).

    0 where all M models say the same, however unsure they are; large where each is sure of another class.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    information: np.ndarray = _entropy(values.mean(axis=0)) - _entropy(values).mean(axis=0)
    return np.maximum(information, 0.0)


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    entropy: np.ndarray = -(probabilities * np.log(np.maximum(probabilities, _TINY))).sum(axis=-1)
    return entropy
