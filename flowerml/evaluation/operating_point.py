"""One model, many answers: between the most hits and the highest mean recall lies a family of decisions, and one of
them is chosen.

Accuracy counts every pair the same, mean recall every class: a hit in class c is worth 1/N to the one and 1/(C n_c) to
the other. So for probabilities that are right, the decision that maximises a x accuracy + (1 - a) x mean recall takes
the class with the largest p_c x (a + (1 - a) / (C share_c)) (cost-sensitive decision: Elkan, "The foundations of
cost-sensitive learning", IJCAI 2001). a = 1 is the usual answer, a = 0 the balanced one. Logit adjustment (Menon et
al., ICLR 2021) joins the same two ends by a geometric path.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

STEPS = 41


@dataclass(frozen=True)
class Point:
    """One decision and what it gives. `share` is a, `recalls` (C,) in label order, NaN for a class that does not occur."""

    share: float
    accuracy: float
    recalls: tuple[float, ...]
    mean_recall: float


def decide(log_probabilities: np.ndarray, shares: np.ndarray, counted: Sequence[int], a: float) -> np.ndarray:
    """Class numbers (N,) for log-probabilities (N, C).

    `shares` (C,) are the training shares, `counted` the classes whose recalls are averaged. Any other class (too rare
    to be measured) is worth as much as the dearest of them: neither given up nor called for on no evidence.
    """
    worth = np.zeros(len(shares))
    worth[list(counted)] = a + (1 - a) / (len(counted) * shares[list(counted)])
    worth[worth == 0] = worth.max()
    return np.asarray((log_probabilities + np.log(worth)).argmax(axis=1))


def recalls_of(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """(C,): the share of each class's examples that was hit; NaN where there is none."""
    support = np.bincount(labels, minlength=classes)
    hits = np.bincount(labels[predicted == labels], minlength=classes)
    return np.where(support > 0, hits / np.maximum(support, 1), np.nan)


def measure(predicted: np.ndarray, labels: np.ndarray, counted: Sequence[int], share: float, classes: int) -> Point:
    """What these answers give; the mean recall is over the classes `counted` that occur."""
    recalls = recalls_of(predicted, labels, classes)
    return Point(
        share, float((predicted == labels).mean()), tuple(recalls.tolist()), float(np.nanmean(recalls[list(counted)]))
    )


def frontier(
    log_probabilities: np.ndarray, labels: np.ndarray, shares: np.ndarray, counted: Sequence[int], steps: int = STEPS
) -> list[Point]:
    """The decisions from balanced (a = 0) to usual (a = 1)."""
    points = []
    for a in np.linspace(0, 1, steps):
        predicted = decide(log_probabilities, shares, counted, float(a))
        points.append(measure(predicted, labels, counted, float(a), len(shares)))
    return points


def choose(points: Sequence[Point], accuracy: float, mean_recall: float) -> Point:
    """The point whose smaller margin over two goals is largest, the first of equals: of examples the model has not
    learned from.
    """
    return max(points, key=lambda point: min(point.accuracy - accuracy, point.mean_recall - mean_recall))


def over_images(
    images: Sequence[str], measured: Callable[[np.ndarray], Sequence[float]], resamples: int = 2000, seed: int = 20220
) -> np.ndarray:
    """95 % intervals (K, 2) of the K figures that `measured` gives for counts of examples (N,), from images drawn with
    replacement.

    Pairs of one image were annotated together and are no independent evidence, so whole images are drawn (cluster
    bootstrap).
    """
    place = {name: number for number, name in enumerate(dict.fromkeys(images))}
    member = np.array([place[name] for name in images])
    draws = np.random.default_rng(seed).multinomial(len(place), np.full(len(place), 1 / len(place)), size=resamples)
    return np.nanquantile([measured(draw[member]) for draw in draws], (0.025, 0.975), axis=0).T


def weighted_figures(
    predicted: np.ndarray, labels: np.ndarray, counted: Sequence[int], classes: int
) -> Callable[[np.ndarray], list[float]]:
    """For `over_images`: accuracy and mean recall over the classes `counted`, each example taken as often as it was
    drawn.
    """
    right = predicted == labels

    def figures(counts: np.ndarray) -> list[float]:
        support = np.bincount(labels, weights=counts, minlength=classes)[list(counted)]
        hits = np.bincount(labels[right], weights=counts[right], minlength=classes)[list(counted)]
        with np.errstate(invalid="ignore"):
            return [float(counts[right].sum() / counts.sum()), float(np.nanmean(hits / support))]

    return figures
