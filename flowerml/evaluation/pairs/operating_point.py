"""Operating points of one model between the best accuracy and the best mean recall, and the choice of one.

Accuracy weights every example alike, mean recall every class: a hit in class c adds 1/N to the one and 1/(C n_c) to the
other. For calibrated probabilities, a x accuracy + (1 - a) x mean recall is maximal for the class with the largest
p_c x (a + (1 - a) / (C prior_c)) (Elkan, "The foundations of cost-sensitive learning", IJCAI 2001). a = 1 is the plain
argmax, a = 0 the balanced decision. Logit adjustment (Menon et al., ICLR 2021) interpolates geometrically instead.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

STEPS = 41


@dataclass(frozen=True)
class OperatingPoint:
    """Metrics at weight a (`share`). `recalls` (C,) in label order, NaN for a class without examples."""

    share: float
    accuracy: float
    recalls: tuple[float, ...]
    mean_recall: float


def weighted_decisions(
    log_probabilities: np.ndarray, shares: np.ndarray, counted: Sequence[int], a: float
) -> np.ndarray:
    """Predicted class indices (N,) from log-probabilities (N, C), at weight `a`.

    `shares` (C,) are the class frequencies of the training, `counted` the classes whose recalls are averaged. Any other
    class (too rare to measure) gets the largest weight of these.
    """
    weights = np.zeros(len(shares))
    weights[list(counted)] = a + (1 - a) / (len(counted) * shares[list(counted)])
    weights[weights == 0] = weights.max()
    return np.asarray((log_probabilities + np.log(weights)).argmax(axis=1))


def per_class_recall(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Recall of each class, (C,); NaN for a class without examples."""
    support = np.bincount(labels, minlength=classes)
    hits = np.bincount(labels[predicted == labels], minlength=classes)
    return np.where(support > 0, hits / np.maximum(support, 1), np.nan)


def measure_decisions(
    predicted: np.ndarray, labels: np.ndarray, counted: Sequence[int], share: float, classes: int
) -> OperatingPoint:
    """Metrics of these predictions; the mean recall is over the classes in `counted` that occur."""
    recalls = per_class_recall(predicted, labels, classes)
    return OperatingPoint(
        share, float((predicted == labels).mean()), tuple(recalls.tolist()), float(np.nanmean(recalls[list(counted)]))
    )


def operating_points(
    log_probabilities: np.ndarray, labels: np.ndarray, shares: np.ndarray, counted: Sequence[int], steps: int = STEPS
) -> list[OperatingPoint]:
    """The operating points from balanced (a = 0) to plain argmax (a = 1)."""
    points = []
    for a in np.linspace(0, 1, steps):
        predicted = weighted_decisions(log_probabilities, shares, counted, float(a))
        points.append(measure_decisions(predicted, labels, counted, float(a), len(shares)))
    return points


def choose_operating_point(points: Sequence[OperatingPoint], accuracy: float, mean_recall: float) -> OperatingPoint:
    """The point whose smaller margin over two goals is largest, the first on a tie; on examples not trained on."""
    return max(points, key=lambda point: min(point.accuracy - accuracy, point.mean_recall - mean_recall))


def bootstrap_over_images(
    images: Sequence[str], statistics: Callable[[np.ndarray], Sequence[float]], resamples: int = 2000, seed: int = 20220
) -> np.ndarray:
    """95 % percentile intervals (K, 2) of the K values of `statistics`, by a cluster bootstrap over images.

    `statistics` gets how often each example was drawn, (N,). Pairs of one image are not independent, so whole images
    are resampled; `scipy.stats.bootstrap` has no clusters.
    """
    image_index = {name: i for i, name in enumerate(dict.fromkeys(images))}
    index = np.array([image_index[name] for name in images])
    draws = np.random.default_rng(seed).multinomial(
        len(image_index), np.full(len(image_index), 1 / len(image_index)), size=resamples
    )
    return np.nanquantile([statistics(draw[index]) for draw in draws], (0.025, 0.975), axis=0).T


def weighted_metrics(
    predicted: np.ndarray, labels: np.ndarray, counted: Sequence[int], classes: int
) -> Callable[[np.ndarray], list[float]]:
    """For `bootstrap_over_images`: a function from counts (N,) to accuracy and mean recall over `counted` classes."""
    correct = predicted == labels

    def metrics(counts: np.ndarray) -> list[float]:
        support = np.bincount(labels, weights=counts, minlength=classes)[list(counted)]
        hits = np.bincount(labels[correct], weights=counts[correct], minlength=classes)[list(counted)]
        with np.errstate(invalid="ignore"):
            return [float(counts[correct].sum() / counts.sum()), float(np.nanmean(hits / support))]

    return metrics
