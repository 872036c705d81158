"""Label errors by out-of-sample confidence: which pictures a model that has not learnt their labels takes for another
class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from flowerml.data.quality.summary import printable_name

FOLDS = 5
_REGULARISATION = (
    0.01  # scikit-learn's C: features outnumber a class's pictures, and a sure head would hide what it has memorised
)
_SEED = 11


@dataclass(frozen=True)
class LabelError:
    """A picture whose label is doubted. `key` is `<class>/<name>`, `label` the folder's class, `suggested` what the
    model takes it for.

    `p_label` and `p_suggested` are out-of-sample probabilities; `likely_wrong` says whether the other class is beyond
    its threshold.
    """

    key: str
    label: str
    suggested: str
    p_label: float
    p_suggested: float
    likely_wrong: bool


@dataclass(frozen=True)
class LabelErrors:
    """Every picture by class, the likeliest label error first; how the confidence came about; per class, how many are
    likely wrong.
    """

    by_class: Mapping[str, Sequence[LabelError]]
    how: str
    estimated: Mapping[str, int]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        doubted = {name: [asdict(suspect) for suspect in found] for name, found in self.by_class.items()}
        return {"how": self.how, "estimated": dict(self.estimated), "by_class": doubted}

    def lines(self, first: int = 5) -> list[str]:
        """For a terminal: each class's number of likely wrong labels, and its `first` suspects with what the model
        takes them for.
        """
        lines = [f"labels that the model doubts ({self.how.rstrip('.')}):"]
        for name, found in self.by_class.items():
            lines.append(f"  {name}: {self.estimated[name]} likely wrong")
            lines += [
                f"    {printable_name(one.key)}  {one.suggested} {one.p_suggested:.2f}, {one.label} {one.p_label:.2f}"
                for one in found[:first]
            ]
        return lines


def find_label_errors(
    keys: Sequence[str],
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: tuple[str, ...],
    how: str,
    first: int = 200,
) -> LabelErrors:
    """Order the pictures of each class by how little of their probability is on their label; at most `first` of each.

    `labels` (N,) class numbers, `probabilities` (N, C) out-of-sample. "Likely wrong" is confident learning's rule
    (Northcutt et al. 2021): another class reaches the mean confidence of its own pictures, and more of it than any
    other, while the label does not come first.
    """
    thresholds = np.array(
        [probabilities[labels == c, c].mean() if (labels == c).any() else np.inf for c in range(len(classes))]
    )
    reached = np.where(probabilities >= thresholds, probabilities, -1.0)
    likely = (reached.max(axis=1) > 0) & (reached.argmax(axis=1) != labels)
    own = probabilities[np.arange(len(labels)), labels]
    others = probabilities.copy()
    others[np.arange(len(labels)), labels] = -1.0
    suggested = others.argmax(axis=1)
    by_class: dict[str, list[LabelError]] = {}
    for number, name in enumerate(classes):
        places: list[int] = sorted(np.flatnonzero(labels == number).tolist(), key=lambda i: (own[i], keys[i]))
        by_class[name] = [
            LabelError(
                key=keys[i],
                label=name,
                suggested=classes[suggested[i]],
                p_label=float(own[i]),
                p_suggested=float(probabilities[i, suggested[i]]),
                likely_wrong=bool(likely[i]),
            )
            for i in places[:first]
        ]
    estimated = {name: int(likely[labels == number].sum()) for number, name in enumerate(classes)}
    return LabelErrors(by_class, how, estimated)


def cross_fitted(features: np.ndarray, labels: np.ndarray, groups: Sequence[int]) -> np.ndarray:
    """Probabilities (N, C) of each picture by a linear head that was fitted without it and without its near-duplicates.

    `features` (N, F) of a backbone, `labels` (N,) in 0..C-1, each occurring; `groups` (N,) stay on one side of each of
    the folds. Logistic regression on standardised features, 5 folds, stratified; the same result every time.

    Raises:
        ValueError: a class has fewer groups than two: nothing is left to fit it on when one is held out.
    """
    rarest = min(
        len({group for group, label in zip(groups, labels, strict=True) if label == c}) for c in np.unique(labels)
    )
    if rarest < 2:
        raise ValueError("a class has fewer than two groups of pictures")
    folds = StratifiedGroupKFold(min(FOLDS, rarest), shuffle=True, random_state=_SEED)
    probabilities = np.zeros((len(labels), int(labels.max()) + 1))
    for fitted, held in folds.split(features, labels, groups):
        head = make_pipeline(StandardScaler(), LogisticRegression(C=_REGULARISATION, max_iter=2000))
        head.fit(features[fitted], labels[fitted])
        probabilities[np.ix_(held, head.classes_)] = head.predict_proba(features[held])
    return probabilities
