"""The effect of imbalance and schedule settings, computed and printed before a run starts.

The description of Experiment 2 (spatial relations) contradicts itself in six places. Its figures are kept here, so that
`experiment_checks` can print each beside the value that its own rules give.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from flowerml.data.balance import Balance, class_repeats, parse_oversampling
from flowerml.data.relations.records import RELATIONS
from flowerml.settings import Settings


@dataclass(frozen=True)
class ExperimentSettings:
    """The figures of Experiment 2 as published."""

    counts: tuple[int, ...] = (13_103, 2_911, 4_977, 1_743, 787, 654, 2_411, 4_115, 137, 38)
    total: int = 30_860
    weights: tuple[float, ...] = (0.24, 1.06, 0.62, 1.77, 3.92, 4.72, 1.28, 0.75, 22.53, 81.21)
    oversample: str = "100:3,500:2"
    oversampled: int = 40_000  # pairs in training after oversampling, "about"
    inside: int = 411
    outside: int = 114
    trainable: int = 4_770_000
    penalty: int = 81  # weight of outside over that of on, as published
    plateau_patience: int = 3
    patience: int = 5
    val_accuracy: tuple[float, float] = (0.52, 0.58)
    accuracy: tuple[float, float] = (0.73, 0.79)


EXPERIMENT_2 = ExperimentSettings()


def class_weights(counts: Sequence[int], total: int | None = None) -> list[float]:
    """N / (C n_c) for each class; N is `total`, by default the sum of the counts."""
    total = sum(counts) if total is None else total
    return [total / (len(counts) * count) for count in counts]


def epochs_at_lower_rate(plateau_patience: int, patience: int) -> int:
    """Epochs from the first reduction of the rates to the early stop, if loss and metric stop improving together.

    The rates are reduced after `plateau_patience` + 1 epochs without improvement (torch's ReduceLROnPlateau), the run
    stops after `patience`.
    """
    return max(0, patience - plateau_patience - 1)


def settings_checks(balance: Balance, settings: Settings, trainable: Mapping[str, int]) -> list[str]:
    """The lines printed before a run starts.

    `balance` is that of the training pairs; `trainable` has trainable parameters by part of the model, such as
    {"visual projection": 4326528}.
    """
    lines = [_weights_line(balance)] if balance.weights is not None else []
    if any(times > 1 for times in balance.repeats):
        lines.append(_oversampling_line(balance, settings.oversample))
        if balance.weights is not None:
            lines.append(_combined_line(balance))
    if settings.scheduler == "plateau" and settings.patience:
        lines.append(_plateau_line(settings.plateau_patience, settings.patience, settings.min_epochs, settings.monitor))
    parts = ", ".join(f"{name} {count:,}" for name, count in trainable.items())
    lines.append(f"trainable parameters: {sum(trainable.values()):,} ({parts})")
    return lines


def experiment_checks(published: ExperimentSettings = EXPERIMENT_2) -> list[str]:
    """Where Experiment 2 contradicts itself: the published figure and the one its rules give."""
    total, counted = published.total, sum(published.counts)
    repeats = class_repeats(published.counts, parse_oversampling(published.oversample))
    seen = dict(
        zip(RELATIONS, (count * times for count, times in zip(published.counts, repeats, strict=True)), strict=True)
    )
    added = sum(seen.values()) - counted
    weights = class_weights(published.counts, total)
    balance = Balance(RELATIONS, published.counts, tuple(repeats), tuple(weights))
    epochs_left = epochs_at_lower_rate(published.plateau_patience, published.patience)
    return [
        f"N: published as {total:,}, the ten counts sum to {counted:,}",
        (
            "weights N/(C n):"
            f" {', '.join(f'{name} {weight:.2f}' for name, weight in zip(RELATIONS, weights, strict=True))} (N ="
            f" {total:,})"
        ),
        (
            f"oversampling {published.oversample}: inside {seen['inside']} (published: {published.inside}), outside"
            f" {seen['outside']}, train {total + added:,} (published: about {published.oversampled:,})"
        ),
        (
            "weights from before oversampling, applied after it: one pair of outside pulls"
            f" {balance.effective_ratio:,.0f} times one of on"
        ),
        (
            f"'{published.penalty}x': {max(weights):.2f} is the weight of outside; against that of on it is"
            f" {max(weights) / min(weights):.0f}:1"
        ),
        (
            f"plateau patience {published.plateau_patience}, stopping patience {published.patience}:"
            f" {epochs_left} epoch(s) at the lower rate before the end"
        ),
        (
            f"trainable: published as about {published.trainable:,}; the projection 4096 -> 1024 -> 128 alone has"
            f" {_linear_parameters(4096, 1024, 128):,}; a run prints its own count"
        ),
        (
            f"accuracy: published as {_percent(published.accuracy)}, and {_percent(published.val_accuracy)} for"
            " validation: not both can be met"
        ),
    ]


def _linear_parameters(*widths: int) -> int:
    """Weights and biases of fully connected layers of these widths."""
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(widths))


def _percent(bounds: tuple[float, float]) -> str:
    return f"{100 * bounds[0]:.0f}-{100 * bounds[1]:.0f} %"


def _weights_line(balance: Balance) -> str:
    weights = balance.weights or ()
    largest, smallest = max(weights), min(weights)
    rare, common = balance.classes[weights.index(largest)], balance.classes[weights.index(smallest)]
    return (
        f"class weights {smallest:.2f} ({common}) to {largest:.2f} ({rare}): a mistake on {rare} costs"
        f" {largest / smallest:.0f} times one on {common}, not {largest:.0f} times"
    )


def _oversampling_line(balance: Balance, rule: str) -> str:
    columns = zip(balance.classes, balance.counts, balance.repeats, balance.examples_per_epoch, strict=True)
    repeated = ", ".join(
        f"{name} {count:,} -> {seen:,} (x{times})" for name, count, times, seen in columns if times > 1
    )
    before, after = sum(balance.counts), sum(balance.examples_per_epoch)
    return (
        f"oversampling {rule}: {repeated}; {before:,} -> {after:,} pairs an epoch ({100 * (after / before - 1):+.1f} %)"
    )


def _combined_line(balance: Balance) -> str:
    weights = balance.weights or ()
    gradient_shares = [times * weight for times, weight in zip(balance.repeats, weights, strict=True)]
    largest, smallest = (balance.classes[gradient_shares.index(pick(gradient_shares))] for pick in (max, min))
    return (
        f"class weights are those of the counts before oversampling: both multiply, one pair of {largest} pulls"
        f" {balance.effective_ratio:,.0f} times one of {smallest}"
    )


def _plateau_line(plateau_patience: int, patience: int, min_epochs: int, monitor: str) -> str:
    epochs_left = epochs_at_lower_rate(plateau_patience, patience)
    return (
        f"plateau patience {plateau_patience}, stopping patience {patience}: once val_loss and {monitor} stop improving"
        f" together, {epochs_left} epoch(s) run at the lower rate before the end"
        + (f" (never before epoch {min_epochs})" if min_epochs else "")
    )
