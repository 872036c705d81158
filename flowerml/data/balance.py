"""Rare classes: loss weights, targeted oversampling, logit adjustment, and what they amount to together. For any task."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


def balanced_weights(counts: Sequence[int]) -> list[float]:
    """N / (C n_c) for each class: the weights of scikit-learn's `balanced`. `counts` are training examples per class,
    each >= 1.
    """
    total = sum(counts)
    return [total / (len(counts) * count) for count in counts]


def effective_weights(counts: Sequence[int], beta: float) -> list[float]:
    """Weights by the effective number of pictures, (1 - beta^n) / (1 - beta): Cui et al. 2019, "Class-Balanced Loss".

    Every further picture of a class tells less that is new; a class counts as if it had that many pictures. `counts` as
    above, `beta` in [0, 1). Scaled to mean 1 over the training pictures, as balanced weights are (the paper scales them
    to the sum C): 0 gives weights of 1, and towards 1 they become the balanced ones.
    """
    # expm1 and log1p keep their digits where beta is so near 1 that 1 - beta^n loses them.
    numbers = [
        1.0 if beta == 0 else math.expm1(count * math.log(beta)) / math.expm1(math.log(beta)) for count in counts
    ]
    scale = sum(counts) / sum(count / number for count, number in zip(counts, numbers, strict=True))
    return [scale / number for number in numbers]


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
    """Per class, in label order: training examples, repeats in an epoch, loss weight. `adjustment` is the logit
    adjustment's tau.
    """

    classes: tuple[str, ...]
    counts: tuple[int, ...]
    repeats: tuple[int, ...]
    weights: tuple[float, ...] | None
    adjustment: float = 0.0

    @property
    def seen(self) -> tuple[int, ...]:
        """Examples of each class seen in one epoch."""
        return tuple(count * times for count, times in zip(self.counts, self.repeats, strict=True))

    @property
    def effective_ratio(self) -> float:
        """Largest over smallest pull of ONE picture on the loss: repeats x weight. 1 means every picture counts the
        same.

        Weights that were computed before oversampling and applied after it multiply with it; this figure shows it.
        """
        weights = self.weights or (1.0,) * len(self.counts)
        pull = [times * weight for times, weight in zip(self.repeats, weights, strict=True)]
        return max(pull) / min(pull)

    @property
    def logit_offsets(self) -> tuple[float, ...] | None:
        """What the loss adds to each class's logit: tau x log of its share of an epoch (Menon et al. 2021); None where
        tau is 0.

        The share is the one the model meets, after oversampling: what that has evened out is not evened out twice.
        """
        if self.adjustment == 0:
            return None
        total = sum(self.seen)
        return tuple(self.adjustment * math.log(seen / total) for seen in self.seen)

    @property
    def prior(self) -> tuple[float, ...]:
        """The shares (C,) that the trained model takes the classes to have: seen x weight, less what the adjustment
        took out.
        """
        weights, total = self.weights or (1.0,) * len(self.counts), sum(self.seen)
        pull = [
            seen * weight / (seen / total) ** self.adjustment for seen, weight in zip(self.seen, weights, strict=True)
        ]
        return tuple(value / sum(pull) for value in pull)

    @property
    def imbalance(self) -> float:
        """Largest over smallest share of a CLASS in `prior`. 1 means every class counts the same."""
        return max(self.prior) / min(self.prior)

    def as_json(self) -> dict[str, Any]:
        """Counts, repeats, pictures per epoch and weights by class, and the two effective ratios, as plain values."""
        columns = zip(
            self.classes, self.counts, self.repeats, self.seen, self.weights or (1.0,) * len(self.counts), strict=True
        )
        return {
            "classes": [
                {"class": name, "count": count, "repeats": times, "seen_per_epoch": seen, "weight": weight}
                for name, count, times, seen, weight in columns
            ],
            "logit_adjustment": self.adjustment,
            "prior": list(self.prior),
            "effective_imbalance": self.imbalance,
            "effective_ratio": self.effective_ratio,
        }

    def lines(self) -> list[str]:
        """What is printed and logged before training."""
        weights = self.weights or (1.0,) * len(self.counts)
        rows = zip(self.classes, self.counts, self.repeats, self.seen, weights, strict=True)
        table = [
            f"  {name}: {count} x{times} = {seen}, weight {weight:.2f}" for name, count, times, seen, weight in rows
        ]
        largest, smallest = max(self.counts), min(self.counts)
        if self.adjustment:
            table.append(f"  logit adjustment {self.adjustment:g} in the loss")
        return [
            *table,
            (
                f"  counts {largest / smallest:.2f}:1, effective imbalance of classes {self.imbalance:.2f}:1, "
                f"of single pictures {self.effective_ratio:,.2f}:1, {sum(self.seen):,} per epoch"
            ),
        ]


def balance(
    classes: Sequence[str],
    labels: Sequence[int],
    class_weights: str = "none",
    oversample: str = "none",
    *,
    effective_beta: float = 0.999,
    logit_adjustment: float = 0.0,
) -> Balance:
    """The balance of training examples with these label numbers; the settings' names and meanings."""
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    weights: list[float] | None = None
    if class_weights == "balanced":
        weights = balanced_weights(counts)
    elif class_weights == "effective":
        weights = effective_weights(counts, effective_beta)
    repeats = class_repeats(counts, parse_oversampling(oversample))
    return Balance(tuple(classes), tuple(counts), tuple(repeats), tuple(weights) if weights else None, logit_adjustment)
