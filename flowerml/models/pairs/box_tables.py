"""Models of a pair that see no pixel: the boxes' numbers and, where asked for, what the two objects are called. The
simple ones.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from sklearn.linear_model import LogisticRegression

from flowerml.data.relations.geometry import BoxFeatures, box_features
from flowerml.data.relations.records import FLIPPED, Pair

CLIP = 5.0  # deviations: a box of one pixel has ratios in the hundreds, which would drown all others
_NEVER = 1e-9  # the probability of what a model holds impossible, so that it has a logarithm


class PairModel(Protocol):
    """From pairs with relations to log-probabilities of the classes for other pairs."""

    def fit(self, pairs: Sequence[Pair], classes: Sequence[str]) -> None:
        """Learn. Each pair's relation is one of `classes` (in label order), and each class has a pair, unless the model
        says otherwise.
        """
        ...

    def log_probabilities(self, pairs: Sequence[Pair]) -> np.ndarray:
        """(N, C) float64; the pairs' own relations are not looked at."""
        ...


class Encoder:
    """Box features with the mean and deviation of the training pairs taken out, and numbers for the objects' names."""

    def __init__(self, pairs: Sequence[Pair], kind: BoxFeatures) -> None:
        self._kind = kind
        values = box_features(pairs, kind).astype(np.float64)
        deviation = values.std(axis=0)
        # What is the same for all training pairs but for its last digit must not be blown up to a feature.
        self._mean, self._deviation = values.mean(axis=0), np.where(deviation < 1e-5, 1.0, deviation)
        names = Counter(
            name for pair in pairs for name in (pair.subject_category, pair.object_category) if name is not None
        )
        self._place = {name: place for place, name in enumerate(sorted(names), start=1)}

    @property
    def categories(self) -> int:
        """How many numbers a name can have: one for each name of the training pairs, and 0 for any other and for none."""
        return len(self._place) + 1

    def numbers(self, pairs: Sequence[Pair]) -> np.ndarray:
        """(N, F) float32, clipped at CLIP deviations."""
        values = (box_features(pairs, self._kind) - self._mean) / self._deviation
        return np.clip(values, -CLIP, CLIP).astype(np.float32)

    def codes(self, pairs: Sequence[Pair]) -> np.ndarray:
        """(N, 2) int64: the number of the subject's and of the object's name."""
        rows = [
            [self._place.get(name or "", 0) for name in (pair.subject_category, pair.object_category)] for pair in pairs
        ]
        return np.array(rows, dtype=np.int64).reshape(-1, 2)


def labels_of(pairs: Sequence[Pair], classes: Sequence[str]) -> np.ndarray:
    """Label numbers (N,) int64: each relation's place in `classes`."""
    place = {name: number for number, name in enumerate(classes)}
    return np.array([place[pair.relation] for pair in pairs], dtype=np.int64)


def mirror_places(classes: Sequence[str]) -> list[int] | None:
    """For each class the number of the one it becomes in the mirror; None where one of those is no class (left of
    without right of).
    """
    names = list(classes)
    turned = [FLIPPED.get(name, name) for name in names]
    return [names.index(name) for name in turned] if set(turned) <= set(names) else None


def as_logarithms(probabilities: np.ndarray) -> np.ndarray:
    """Logarithms of (N, C) probabilities, none of them minus infinity."""
    logarithms: np.ndarray = np.log(np.maximum(probabilities, _NEVER))
    return logarithms


class Shares:
    """The training shares of the classes, whatever the pair: its largest is the majority."""

    def fit(self, pairs: Sequence[Pair], classes: Sequence[str]) -> None:
        """Count."""
        counts = np.bincount(labels_of(pairs, classes), minlength=len(classes))
        self.shares = counts / counts.sum()

    def log_probabilities(self, pairs: Sequence[Pair]) -> np.ndarray:
        """(N, C), all rows equal."""
        return np.tile(as_logarithms(self.shares), (len(pairs), 1))


class Logistic:
    """Logistic regression on box numbers and, with `categories`, on one-hot names of subject and object.

    `balanced` weighs every pair by N / (C n_c). `strength` is scikit-learn's C.
    """

    def __init__(self, kind: BoxFeatures, *, categories: bool, balanced: bool, strength: float = 1.0) -> None:
        self._kind, self._categories = kind, categories
        self._model = LogisticRegression(
            C=strength, tol=1e-3, max_iter=2000, class_weight="balanced" if balanced else None
        )

    def fit(self, pairs: Sequence[Pair], classes: Sequence[str]) -> None:
        """Learn; one class alone needs no model."""
        self._encoder, self._classes = Encoder(pairs, self._kind), len(classes)
        self._model.fit(self._inputs(pairs), labels_of(pairs, classes))

    def log_probabilities(self, pairs: Sequence[Pair]) -> np.ndarray:
        """(N, C)."""
        return as_logarithms(
            spread(self._model.predict_proba(self._inputs(pairs)), self._model.classes_, self._classes)
        )

    def _inputs(self, pairs: Sequence[Pair]) -> np.ndarray:
        numbers = self._encoder.numbers(pairs)
        if not self._categories:
            return numbers
        one_hot = np.eye(self._encoder.categories, dtype=np.float32)[self._encoder.codes(pairs)]
        return np.hstack([numbers, one_hot.reshape(len(pairs), -1)])


class Mean:
    """The mean of several models' log-probabilities: their geometric mean, up to a factor that is the same for all
    classes.
    """

    def __init__(self, members: Sequence[PairModel]) -> None:
        self._members = members

    def fit(self, pairs: Sequence[Pair], classes: Sequence[str]) -> None:
        """Let every member learn."""
        for member in self._members:
            member.fit(pairs, classes)

    def log_probabilities(self, pairs: Sequence[Pair]) -> np.ndarray:
        """(N, C)."""
        return geometric_mean([member.log_probabilities(pairs) for member in self._members])


def geometric_mean(members: Sequence[np.ndarray]) -> np.ndarray:
    """Log-probabilities (N, C) that are the mean of the members', made to sum to 1 again.

    A member's own are cut at 1e-4: one that holds a class impossible on few examples must not have a veto.
    """
    mean = np.mean([np.maximum(member, np.log(1e-4)) for member in members], axis=0)
    return np.asarray(mean - np.log(np.exp(mean).sum(axis=1, keepdims=True)))


def spread(probabilities: np.ndarray, present: np.ndarray, classes: int) -> np.ndarray:
    """Columns of the classes that scikit-learn has met, put at their places among all: (N, P) -> (N, C)."""
    whole = np.zeros((len(probabilities), classes))
    whole[:, present] = probabilities
    return whole
