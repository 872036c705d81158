"""Models of a pair without pixels, from box features and object categories: class prior and logistic regression."""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from flowerml.data.relations.geometry import BoxFeatures, box_features
from flowerml.data.relations.records import FLIPPED, Pair

CLIP = 5.0  # standard deviations: a box of one pixel has ratios in the hundreds, which would dominate all others
_MIN_PROBABILITY = 1e-9  # so that the logarithm is finite


class PairModel(Protocol):
    """A classifier of pairs: fitted on pairs with relations, predicts log-probabilities."""

    def fit(self, pairs: Sequence[Pair], classes: Sequence[str]) -> None:
        """Fit. Each pair's relation is one of `classes` (in label order), and each class has a pair."""
        ...

    def log_probabilities(self, pairs: Sequence[Pair]) -> np.ndarray:
        """(N, C) float64; the pairs' own relations are not used."""
        ...


class PairEncoder:
    """Standardized box features, and integer codes of the object categories; both fitted on the training pairs."""

    def __init__(self, pairs: Sequence[Pair], kind: BoxFeatures) -> None:
        self._kind = kind
        values = box_features(pairs, kind).astype(np.float64)
        deviation = values.std(axis=0)
        # A feature that is constant up to rounding must not be scaled up.
        self._mean, self._deviation = values.mean(axis=0), np.where(deviation < 1e-5, 1.0, deviation)
        names = Counter(
            name for pair in pairs for name in (pair.subject_category, pair.object_category) if name is not None
        )
        self._code = {name: code for code, name in enumerate(sorted(names), start=1)}

    @property
    def num_categories(self) -> int:
        """Number of codes: one for each category of the training pairs, and 0 for unknown or none."""
        return len(self._code) + 1

    def encode_boxes(self, pairs: Sequence[Pair]) -> np.ndarray:
        """Box features (N, F) float32, clipped at CLIP standard deviations."""
        values = (box_features(pairs, self._kind) - self._mean) / self._deviation
        return np.clip(values, -CLIP, CLIP).astype(np.float32)

    def encode_categories(self, pairs: Sequence[Pair]) -> np.ndarray:
        """Category codes of subject and object, (N, 2) int64."""
        rows = [
            [self._code.get(name or "", 0) for name in (pair.subject_category, pair.object_category)] for pair in pairs
        ]
        return np.array(rows, dtype=np.int64).reshape(-1, 2)


def encode_labels(pairs: Sequence[Pair], classes: Sequence[str]) -> np.ndarray:
    """Labels (N,) int64: the index of each pair's relation in `classes`."""
    index = {name: number for number, name in enumerate(classes)}
    return np.array([index[pair.relation] for pair in pairs], dtype=np.int64)


def mirror_permutation(classes: Sequence[str]) -> list[int] | None:
    """For each class the index of its mirror image; None if one of these is not a class (left of without right of)."""
    names = list(classes)
    mirrored = [FLIPPED.get(name, name) for name in names]
    return [names.index(name) for name in mirrored] if set(mirrored) <= set(names) else None


def safe_log(probabilities: np.ndarray) -> np.ndarray:
    """Logarithms of probabilities (N, C), clipped so that they are finite."""
    logarithms: np.ndarray = np.log(np.maximum(probabilities, _MIN_PROBABILITY))
    return logarithms


class ClassPrior:
    """Predicts the class frequencies of the training pairs for every pair; its argmax is the majority baseline."""

    def fit(self, pairs: Sequence[Pair], classes: Sequence[str]) -> None:
        """Count the classes."""
        counts = np.bincount(encode_labels(pairs, classes), minlength=len(classes))
        self.shares = counts / counts.sum()

    def log_probabilities(self, pairs: Sequence[Pair]) -> np.ndarray:
        """(N, C), all rows equal."""
        return np.tile(safe_log(self.shares), (len(pairs), 1))


class LogisticPairModel:
    """Logistic regression on box features and, with `categories`, one-hot categories of subject and object.

    `balanced` weights every pair by N / (C n_c); `c` is scikit-learn's C, the inverse of the L2 penalty.
    """

    def __init__(self, kind: BoxFeatures, *, categories: bool, balanced: bool, c: float = 1.0) -> None:
        self._kind, self._categories = kind, categories
        from sklearn.linear_model import LogisticRegression  # late: its import takes a second, and few runs need it

        self._model = LogisticRegression(C=c, tol=1e-3, max_iter=2000, class_weight="balanced" if balanced else None)

    def fit(self, pairs: Sequence[Pair], classes: Sequence[str]) -> None:
        """Fit; at least two classes."""
        self._encoder, self._classes = PairEncoder(pairs, self._kind), len(classes)
        self._model.fit(self._features(pairs), encode_labels(pairs, classes))

    def log_probabilities(self, pairs: Sequence[Pair]) -> np.ndarray:
        """(N, C)."""
        return safe_log(
            scatter_columns(self._model.predict_proba(self._features(pairs)), self._model.classes_, self._classes)
        )

    def _features(self, pairs: Sequence[Pair]) -> np.ndarray:
        boxes = self._encoder.encode_boxes(pairs)
        if not self._categories:
            return boxes
        one_hot = np.eye(self._encoder.num_categories, dtype=np.float32)[self._encoder.encode_categories(pairs)]
        return np.hstack([boxes, one_hot.reshape(len(pairs), -1)])


class GeometricMeanEnsemble:
    """The geometric mean of several models' probabilities, normalized."""

    def __init__(self, members: Sequence[PairModel]) -> None:
        self._members = members

    def fit(self, pairs: Sequence[Pair], classes: Sequence[str]) -> None:
        """Fit every member."""
        for member in self._members:
            member.fit(pairs, classes)

    def log_probabilities(self, pairs: Sequence[Pair]) -> np.ndarray:
        """(N, C)."""
        return geometric_mean([member.log_probabilities(pairs) for member in self._members])


def geometric_mean(members: Sequence[np.ndarray]) -> np.ndarray:
    """Mean of the members' log-probabilities (N, C), normalized.

    Members are clipped at 1e-4: one that gives a class no probability, from few examples, must not have a veto.
    """
    mean = np.mean([np.maximum(member, np.log(1e-4)) for member in members], axis=0)
    return np.asarray(mean - np.log(np.exp(mean).sum(axis=1, keepdims=True)))


def scatter_columns(probabilities: np.ndarray, present: np.ndarray, classes: int) -> np.ndarray:
    """Columns of the classes scikit-learn was fitted on, placed among all classes: (N, P) -> (N, C)."""
    scattered = np.zeros((len(probabilities), classes))
    scattered[:, present] = probabilities
    return scattered
