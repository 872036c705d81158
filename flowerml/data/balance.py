"""Class imbalance: loss weights, oversampling, logit adjustment, and their combined effect. For any task."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


def balanced_weights(counts: Sequence[int]) -> list[float]:
    """N / (C n_c) for each class, as scikit-learn's `balanced`. `counts`: training examples per class, each >= 1."""
    total = sum(counts)
    return [total / (len(counts) * count) for count in counts]


def effective_weights(counts: Sequence[int], beta: float) -> list[float]:
    """Inverse effective number of samples, (1 - beta^n) / (1 - beta) (Cui et al., "Class-Balanced Loss", CVPR 2019).

    `counts` as above, `beta` in [0, 1). Scaled to mean 1 over the training examples, like balanced weights (the paper
    scales to the sum C): beta 0 gives weights of 1, and towards 1 they become the balanced ones.
    """
    # expm1 keeps the digits that 1 - beta^n loses where beta is near 1.
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
    """Repeats of each class's examples per epoch, by the first rule (bound, repeats) with a bound above the count."""
    return [next((times for below, times in rules if count < below), 1) for count in counts]


_MANY_CLASSES = 40  # more are not printed one by one


@dataclass(frozen=True)
class Balance:
    """Training examples, repeats per epoch and loss weight by class, in label order; tau of the logit adjustment."""

    classes: tuple[str, ...]
    counts: tuple[int, ...]
    repeats: tuple[int, ...]
    weights: tuple[float, ...] | None
    adjustment: float = 0.0

    @property
    def examples_per_epoch(self) -> tuple[int, ...]:
        """Examples per class in one epoch, after oversampling."""
        return tuple(count * times for count, times in zip(self.counts, self.repeats, strict=True))

    @property
    def effective_ratio(self) -> float:
        """Largest over smallest share of ONE picture in the loss, repeats x weight; 1 means all count the same.

        Weights computed before oversampling and applied after it multiply with it, which this figure shows.
        """
        weights = self.weights or (1.0,) * len(self.counts)
        pull = [times * weight for times, weight in zip(self.repeats, weights, strict=True)]
        return max(pull) / min(pull)

    @property
    def logit_offsets(self) -> tuple[float, ...] | None:
        """Added to the logits in the loss: tau x log of each class's share of an epoch; None where tau is 0.

        Menon et al., "Long-tail learning via logit adjustment", ICLR 2021. The share is that after oversampling, so
        that an imbalance is not corrected twice.
        """
        if self.adjustment == 0:
            return None
        total = sum(self.examples_per_epoch)
        return tuple(self.adjustment * math.log(seen / total) for seen in self.examples_per_epoch)

    @property
    def prior(self) -> tuple[float, ...]:
        """The class prior (C,) that the loss implies: examples per epoch x weight / share^tau, normalized."""
        weights, total = self.weights or (1.0,) * len(self.counts), sum(self.examples_per_epoch)
        pull = [
            seen * weight / (seen / total) ** self.adjustment
            for seen, weight in zip(self.examples_per_epoch, weights, strict=True)
        ]
        return tuple(value / sum(pull) for value in pull)

    @property
    def effective_imbalance(self) -> float:
        """Largest over smallest share of a CLASS in `prior`. 1 means every class counts the same."""
        return max(self.prior) / min(self.prior)

    def as_json(self) -> dict[str, Any]:
        """Counts, repeats, examples per epoch and weights by class, and the effective ratios, as plain values."""
        columns = zip(
            self.classes,
            self.counts,
            self.repeats,
            self.examples_per_epoch,
            self.weights or (1.0,) * len(self.counts),
            strict=True,
        )
        return {
            "classes": [
                {"class": name, "count": count, "repeats": times, "seen_per_epoch": seen, "weight": weight}
                for name, count, times, seen, weight in columns
            ],
            "logit_adjustment": self.adjustment,
            "prior": list(self.prior),
            "effective_imbalance": self.effective_imbalance,
            "effective_ratio": self.effective_ratio,
        }

    def summary_lines(self) -> list[str]:
        """The lines printed and logged before training."""
        weights = self.weights or (1.0,) * len(self.counts)
        rows = zip(self.classes, self.counts, self.repeats, self.examples_per_epoch, weights, strict=True)
        table = [
            f"  {name}: {count} x{times} = {seen}, weight {weight:.2f}" for name, count, times, seen, weight in rows
        ]
        largest, smallest = max(self.counts), min(self.counts)
        if len(table) > _MANY_CLASSES:
            table = [f"  {len(table)} classes of {smallest} to {largest} pictures; each is in balance.json"]
        if self.adjustment:
            table.append(f"  logit adjustment {self.adjustment:g} in the loss")
        return [
            *table,
            (
                f"  counts {largest / smallest:.2f}:1, effective imbalance of classes {self.effective_imbalance:.2f}:1,"
                f" of single pictures {self.effective_ratio:,.2f}:1, {sum(self.examples_per_epoch):,} per epoch"
            ),
        ]


def compute_balance(
    classes: Sequence[str],
    labels: Sequence[int],
    class_weights: str = "none",
    oversample: str = "none",
    *,
    effective_beta: float = 0.999,
    logit_adjustment: float = 0.0,
) -> Balance:
    """The balance of training examples with these labels; the other arguments are the settings of the same names."""
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    weights: list[float] | None = None
    if class_weights == "balanced":
        weights = balanced_weights(counts)
    elif class_weights == "effective":
        weights = effective_weights(counts, effective_beta)
    repeats = class_repeats(counts, parse_oversampling(oversample))
    return Balance(tuple(classes), tuple(counts), tuple(repeats), tuple(weights) if weights else None, logit_adjustment)
