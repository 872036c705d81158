"""Rare classes: loss weights, targeted oversampling, and what the two together really amount to. For any task."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


def balanced_weights(counts: Sequence[int]) -> list[float]:
    """N / (C n_c) for each class: the weights of scikit-learn's `balanced`. `counts` are training examples per class, each >= 1."""
    total = sum(counts)
    return [total / (len(counts) * count) for count in counts]


def parse_oversampling(text: str) -> list[tuple[int, int]]:
    """`"100:3,500:2"` -> [(100, 3), (500, 2)], smallest bound first; `"none"` -> []."""
    if text == "none":
        return []
    pairs = (part.split(":") for part in text.split(","))
    return sorted((int(below), int(times)) for below, times in pairs)


def class_repeats(counts: Sequence[int], rules: Sequence[tuple[int, int]]) -> list[int]:
    """How often each class's examples appear in an epoch: the first rule whose bound lies above the class's count."""
    return [next((times for below, times in rules if count < below), 1) for count in counts]


@dataclass(frozen=True)
class Balance:
    """Per class, in label order: training examples, repeats in an epoch, loss weight."""

    classes: tuple[str, ...]
    counts: tuple[int, ...]
    repeats: tuple[int, ...]
    weights: tuple[float, ...] | None

    @property
    def seen(self) -> tuple[int, ...]:
        """Examples of each class seen in one epoch."""
        return tuple(count * times for count, times in zip(self.counts, self.repeats, strict=True))

    @property
    def effective_ratio(self) -> float:
        """Largest over smallest pull of ONE picture on the loss: repeats x weight. 1 means every picture counts the same.

        Weights that were computed before oversampling and applied after it multiply with it; this figure shows it.
        """
        weights = self.weights or (1.0,) * len(self.counts)
        pull = [times * weight for times, weight in zip(self.repeats, weights, strict=True)]
        return max(pull) / min(pull)

    @property
    def imbalance(self) -> float:
        """Largest over smallest total pull of a CLASS: seen x weight. 1 means every class counts the same."""
        weights = self.weights or (1.0,) * len(self.counts)
        pull = [seen * weight for seen, weight in zip(self.seen, weights, strict=True)]
        return max(pull) / min(pull)

    def as_json(self) -> dict[str, Any]:
        """Counts, repeats, pictures per epoch and weights by class, and the two effective ratios, as plain values."""
        columns = zip(self.classes, self.counts, self.repeats, self.seen, self.weights or (1.0,) * len(self.counts), strict=True)
        return {
            "classes": [
                {"class": name, "count": count, "repeats": times, "seen_per_epoch": seen, "weight": weight}
                for name, count, times, seen, weight in columns
            ],
            "effective_imbalance": self.imbalance,
            "effective_ratio": self.effective_ratio,
        }

    def lines(self) -> list[str]:
        """What is printed and logged before training."""
        weights = self.weights or (1.0,) * len(self.counts)
        rows = zip(self.classes, self.counts, self.repeats, self.seen, weights, strict=True)
        table = [f"  {name}: {count} x{times} = {seen}, weight {weight:.2f}" for name, count, times, seen, weight in rows]
        largest, smallest = max(self.counts), min(self.counts)
        return [
            *table,
            f"  counts {largest / smallest:.2f}:1, effective imbalance of classes {self.imbalance:.2f}:1, "
            f"of single pictures {self.effective_ratio:,.2f}:1, {sum(self.seen):,} per epoch",
        ]


def balance(classes: Sequence[str], labels: Sequence[int], class_weights: str, oversample: str) -> Balance:
    """The balance of training examples with these label numbers under the two settings."""
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    weights = tuple(balanced_weights(counts)) if class_weights == "balanced" else None
    repeats = class_repeats(counts, parse_oversampling(oversample))
    return Balance(tuple(classes), tuple(counts), tuple(repeats), weights)
