"""Tree ensembles on box features and on target statistics of the object categories, for `relations_vrd.py`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier

from flowerml.data.relations.geometry import BoxFeatures
from flowerml.data.relations.records import Pair
from flowerml.data.relations.split import fold_of
from flowerml.models.pairs.tabular_models import (
    PairEncoder,
    encode_labels,
    mirror_permutation,
    safe_log,
    scatter_columns,
)

_FOLDS = 10
_PRIOR_COUNT = 5.0  # pseudo-count of the broader statistic


class CategoryStatistics:
    """log P(relation | subject), P(relation | object), P(relation | both categories), smoothed: (N, 3C) for N pairs.

    Each is shrunk towards a broader estimate with a pseudo-count of `_PRIOR_COUNT`: towards the class prior, and for
    both categories towards the product of the single ones (target statistics: Micci-Barreca, SIGKDD Explorations 3,
    2001). With `mirrored` (the class each becomes in the mirror) a pair counts half for its mirror image: categories
    know no left and right.
    """

    def __init__(
        self, codes: np.ndarray, labels: np.ndarray, categories: int, classes: int, mirrored: Sequence[int] | None
    ) -> None:
        mirror = range(classes) if mirrored is None else mirrored
        hits = (np.eye(classes) + np.eye(classes)[list(mirror)])[labels] / 2
        prior = (hits.sum(axis=0) + 0.5) / (len(labels) + 0.5 * classes)
        tables = []
        for side in range(2):
            counts = np.zeros((categories, classes))
            np.add.at(counts, codes[:, side], hits)
            tables.append(_smoothed(counts, prior))
        both = np.zeros((categories, categories, classes))
        np.add.at(both, (codes[:, 0], codes[:, 1]), hits)
        product = tables[0][:, None] * tables[1][None] / prior
        self._tables = tables
        self._both = _smoothed(both, product / product.sum(axis=-1, keepdims=True))

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        """(N, 3C) for codes (N, 2)."""
        subject, other = codes.T
        return np.log(np.hstack([self._tables[0][subject], self._tables[1][other], self._both[subject, other]]) + 1e-4)


def _smoothed(counts: np.ndarray, towards: np.ndarray) -> np.ndarray:
    return np.asarray((counts + _PRIOR_COUNT * towards) / (counts.sum(axis=-1, keepdims=True) + _PRIOR_COUNT))


class TreePairModel:
    """Trees on rich box features and category statistics, with mirrored pairs as augmentation.

    The statistics of a training pair are computed out of fold, by image (ten folds): neither its own label nor others
    of the same image leak into its inputs. `kind` is boosted (histogram gradient boosting) or extra (extra trees).
    """

    def __init__(self, kind: str, seed: int) -> None:
        models: dict[str, Any] = {
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
        self._model = models[kind]

    def fit(self, pairs: Sequence[Pair], classes: Sequence[str]) -> None:
        """Fit."""
        self._classes = len(classes)
        self._mirror = mirror_permutation(classes)
        self._encoder = PairEncoder(pairs, BoxFeatures.RICH)
        codes, labels = self._encoder.encode_categories(pairs), encode_labels(pairs, classes)
        folds = np.array([fold_of(pair.image, _FOLDS, "statistics") for pair in pairs])
        statistics = np.zeros((len(pairs), 3 * self._classes))
        for fold in np.unique(folds):
            inside = folds == fold
            statistics[inside] = self._fit_statistics(codes[~inside], labels[~inside])(codes[inside])
        self._statistics = self._fit_statistics(codes, labels)
        both = list(pairs)
        if self._mirror is not None:
            both += [pair.flipped() for pair in pairs]
            statistics = np.vstack([statistics, statistics])
        self._model.fit(np.hstack([self._encoder.encode_boxes(both), statistics]), encode_labels(both, classes))

    def log_probabilities(self, pairs: Sequence[Pair]) -> np.ndarray:
        """(N, C): the mean over the pair and its mirror image."""
        statistics = self._statistics(self._encoder.encode_categories(pairs))
        probabilities = self._predict_proba(pairs, statistics)
        if self._mirror is None:
            return safe_log(probabilities)
        mirrored = self._predict_proba([pair.flipped() for pair in pairs], statistics)[:, self._mirror]
        return safe_log((probabilities + mirrored) / 2)

    def _fit_statistics(self, codes: np.ndarray, labels: np.ndarray) -> CategoryStatistics:
        return CategoryStatistics(codes, labels, self._encoder.num_categories, self._classes, self._mirror)

    def _predict_proba(self, pairs: Sequence[Pair], statistics: np.ndarray) -> np.ndarray:
        inputs = np.hstack([self._encoder.encode_boxes(pairs), statistics])
        return scatter_columns(self._model.predict_proba(inputs), self._model.classes_, self._classes)
