"""Trees on box numbers and on what training pairs of the same object names were said to be."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier

from flowerml.data.relations.geometry import BoxFeatures
from flowerml.data.relations.records import Pair
from flowerml.data.relations.split import fold_of
from flowerml.models.pairs.box_tables import Encoder, as_logarithms, labels_of, mirror_places, spread

_FOLDS = 10
_WEIGHT = 5.0  # how many pairs the broader statistic counts for beside those that were met


class CategoryStatistics:
    """log P(relation | subject's name), P(… | object's name), P(… | both), smoothed: (N, 3C) for N pairs.

    Each is drawn towards the broader one as if that had been met `_WEIGHT` times: towards the class shares, and for
    both names towards the product of the single ones (target statistics: Micci-Barreca, SIGKDD Explorations 3, 2001).
    With `mirrored` (the class that each becomes in the mirror) a pair counts half for its mirror image: names know no
    left and right.
    """

    def __init__(
        self, codes: np.ndarray, labels: np.ndarray, categories: int, classes: int, mirrored: Sequence[int] | None
    ) -> None:
        turned = range(classes) if mirrored is None else mirrored
        hits = (np.eye(classes) + np.eye(classes)[list(turned)])[labels] / 2
        prior = (hits.sum(axis=0) + 0.5) / (len(labels) + 0.5 * classes)
        tables = []
        for side in range(2):
            counts = np.zeros((categories, classes))
            np.add.at(counts, codes[:, side], hits)
            tables.append(_drawn(counts, prior))
        both = np.zeros((categories, categories, classes))
        np.add.at(both, (codes[:, 0], codes[:, 1]), hits)
        product = tables[0][:, None] * tables[1][None] / prior
        self._tables = tables
        self._both = _drawn(both, product / product.sum(axis=-1, keepdims=True))

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        """(N, 3C) for codes (N, 2)."""
        subject, other = codes.T
        return np.log(np.hstack([self._tables[0][subject], self._tables[1][other], self._both[subject, other]]) + 1e-4)


def _drawn(counts: np.ndarray, towards: np.ndarray) -> np.ndarray:
    return np.asarray((counts + _WEIGHT * towards) / (counts.sum(axis=-1, keepdims=True) + _WEIGHT))


class Trees:
    """Trees on rich box numbers and category statistics, trained on mirrored pairs too, asked about both mirror images.

    A training pair's statistics come from the pairs of other images only (ten parts): its own label is not among its
    inputs, nor is what the same annotator said of the same picture. `kind` is boosted (histogram gradient boosting) or
    extra (randomised trees).
    """

    def __init__(self, kind: str, seed: int) -> None:
        made: dict[str, Any] = {
            "boosted": HistGradientBoostingClassifier(
                max_iter=150,
                learning_rate=0.06,
                l2_regularization=5.0,
                max_leaf_nodes=12,
                min_samples_leaf=30,
                max_features=0.3,
                random_state=seed,
            ),
            "extra": ExtraTreesClassifier(200, min_samples_leaf=5, max_features=0.3, random_state=seed),
        }
        self._model = made[kind]

    def fit(self, pairs: Sequence[Pair], classes: Sequence[str]) -> None:
        """Learn."""
        self._classes = len(classes)
        self._mirrored = mirror_places(classes)
        self._encoder = Encoder(pairs, BoxFeatures.RICH)
        codes, labels = self._encoder.codes(pairs), labels_of(pairs, classes)
        part = np.array([fold_of(pair.image, _FOLDS, "statistics") for pair in pairs])
        statistics = np.zeros((len(pairs), 3 * self._classes))
        for fold in np.unique(part):
            inside = part == fold
            statistics[inside] = self._count(codes[~inside], labels[~inside])(codes[inside])
        self._statistics = self._count(codes, labels)
        both = list(pairs)
        if self._mirrored is not None:
            both += [pair.flipped() for pair in pairs]
            statistics = np.vstack([statistics, statistics])
        self._model.fit(np.hstack([self._encoder.numbers(both), statistics]), labels_of(both, classes))

    def log_probabilities(self, pairs: Sequence[Pair]) -> np.ndarray:
        """(N, C): the mean of both mirror images."""
        statistics = self._statistics(self._encoder.codes(pairs))
        seen = self._ask(pairs, statistics)
        if self._mirrored is None:
            return as_logarithms(seen)
        return as_logarithms((seen + self._ask([pair.flipped() for pair in pairs], statistics)[:, self._mirrored]) / 2)

    def _count(self, codes: np.ndarray, labels: np.ndarray) -> CategoryStatistics:
        return CategoryStatistics(codes, labels, self._encoder.categories, self._classes, self._mirrored)

    def _ask(self, pairs: Sequence[Pair], statistics: np.ndarray) -> np.ndarray:
        inputs = np.hstack([self._encoder.numbers(pairs), statistics])
        return spread(self._model.predict_proba(inputs), self._model.classes_, self._classes)
