"""Likely label errors from out-of-sample probabilities, by confident learning's rule (Northcutt et al. 2021)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from flowerml.data.quality.summary import printable_name
from flowerml.evaluation.metrics import wilson_interval

FOLDS = 5
_C = 0.01  # strong L2 penalty: features outnumber a class's images, and overconfidence would hide memorized labels
_SEED = 11


@dataclass(frozen=True)
class LabelError:
    """A possible label error. `key` is `<class>/<name>`, `label` the folder's class, `suggested` the model's class.

    `p_label` and `p_suggested` are out-of-sample probabilities; `likely_wrong` is True where `suggested` exceeds its
    threshold.
    """

    key: str
    label: str
    suggested: str
    p_label: float
    p_suggested: float
    likely_wrong: bool


@dataclass(frozen=True)
class LabelErrors:
    """Images by class, the most likely label error first.

    `how` says how the probabilities were computed; `estimated` counts the likely wrong labels per class. `too_weak` is
    a sentence where the model can't judge labels, so that none is called wrong; else empty.
    """

    by_class: Mapping[str, Sequence[LabelError]]
    how: str
    estimated: Mapping[str, int]
    too_weak: str = ""

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        doubted = {name: [asdict(error) for error in errors] for name, errors in self.by_class.items()}
        return {
            "how": self.how,
            "too_weak": self.too_weak,
            "estimated": dict(self.estimated),
            "by_class": doubted,
        }

    def lines(self, first: int = 5) -> list[str]:
        """Lines for a terminal: the count of likely wrong labels per class, and its `first` most likely errors."""
        lines = [f"labels that the model doubts ({self.how.rstrip('.')}):", *([self.too_weak] if self.too_weak else [])]
        for name, errors in self.by_class.items():
            lines.append(f"  {name}: {self.estimated[name]} likely wrong")
            lines += [
                f"    {printable_name(error.key)}  {error.suggested} {error.p_suggested:.2f},"
                f" {error.label} {error.p_label:.2f}"
                for error in errors[:first]
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
    """Rank the images of each class by the probability of their label, lowest first; at most `first` of each class.

    `labels` (N,) class indices, `probabilities` (N, C) out-of-sample. "Likely wrong" is the confident joint (Northcutt
    et al. 2021, "Confident Learning", section 3.1): of the classes whose probability reaches the mean confidence of
    their own images, the most probable one is not the label. The rule presumes that most labels are right and that the
    model is better than a guess. No label is called wrong where more than half would be, or where the accuracy (95 %
    interval of Wilson) does not exceed the share of the most frequent class.
    """
    thresholds = np.array(
        [probabilities[labels == c, c].mean() if (labels == c).any() else np.inf for c in range(len(classes))]
    )
    reached = np.where(probabilities >= thresholds, probabilities, -1.0)
    likely = (reached.max(axis=1) > 0) & (reached.argmax(axis=1) != labels)
    if too_weak := _too_weak(labels, probabilities, int(likely.sum())):
        likely[:] = False
    own = probabilities[np.arange(len(labels)), labels]
    others = probabilities.copy()
    others[np.arange(len(labels)), labels] = -1.0
    suggested = others.argmax(axis=1)
    by_class: dict[str, list[LabelError]] = {}
    for number, name in enumerate(classes):
        order: list[int] = sorted(np.flatnonzero(labels == number).tolist(), key=lambda i: (own[i], keys[i]))
        by_class[name] = [
            LabelError(
                key=keys[i],
                label=name,
                suggested=classes[suggested[i]],
                p_label=float(own[i]),
                p_suggested=float(probabilities[i, suggested[i]]),
                likely_wrong=bool(likely[i]),
            )
            for i in order[:first]
        ]
    estimated = {name: int(likely[labels == number].sum()) for number, name in enumerate(classes)}
    return LabelErrors(by_class, how, estimated, too_weak)


def _too_weak(labels: np.ndarray, probabilities: np.ndarray, doubted: int) -> str:
    """Why the model can't judge labels, of which it would call `doubted` wrong, as a sentence; empty where it can."""
    hits, most, total = int((probabilities.argmax(axis=1) == labels).sum()), int(np.bincount(labels).max()), len(labels)
    if wilson_interval(hits, total)[0] > most / total and doubted <= total / 2:
        return ""
    return (
        f"The model is right for {hits} of {total} pictures (always naming the most frequent class: {most}), and would"
        f" call {doubted} labels wrong: it is too weak to judge them, and none is called wrong."
    )


def cross_validated_probabilities(features: np.ndarray, labels: np.ndarray, groups: Sequence[int]) -> np.ndarray:
    """Out-of-fold probabilities (N, C) of a linear probe on `features` (N, F), without leaks between near-duplicates.

    `labels` (N,) in 0..C-1, each occurring; images of one group in `groups` (N,) are in the same fold. Logistic
    regression on standardized features, 5 stratified folds; deterministic.

    Raises:
        ValueError: a class has fewer than two groups, so none is left for fitting when one is held out.
    """
    rarest = min(
        len({group for group, label in zip(groups, labels, strict=True) if label == c}) for c in np.unique(labels)
    )
    if rarest < 2:
        raise ValueError("a class has fewer than two groups of pictures")
    from sklearn.linear_model import LogisticRegression  # late: its import takes a second, and few runs need it
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = StratifiedGroupKFold(min(FOLDS, rarest), shuffle=True, random_state=_SEED)
    probabilities = np.zeros((len(labels), int(labels.max()) + 1))
    for fit, held_out in folds.split(features, labels, groups):
        head = make_pipeline(StandardScaler(), LogisticRegression(C=_C, max_iter=2000))
        head.fit(features[fit], labels[fit])
        probabilities[np.ix_(held_out, head.classes_)] = head.predict_proba(features[held_out])
    return probabilities
