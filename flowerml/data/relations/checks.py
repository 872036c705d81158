"""What an experiment's settings really amount to, worked out before it starts: a line for each thing that has misled
people.

The page of the user's Experiment 2 is at odds with itself in six places. Its figures stand here by name, so that a run
and a reader can see both: what it says, and what its own rules give.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from flowerml.data.balance import Balance, class_repeats, parse_oversampling
from flowerml.data.relations.records import RELATIONS
from flowerml.settings import Settings


@dataclass(frozen=True)
class ExperimentSettings:
    """What the page of Experiment 2 says, unchanged."""

    counts: tuple[int, ...] = (13_103, 2_911, 4_977, 1_743, 787, 654, 2_411, 4_115, 137, 38)
    total: int = 30_860
    weights: tuple[float, ...] = (0.24, 1.06, 0.62, 1.77, 3.92, 4.72, 1.28, 0.75, 22.53, 81.21)
    oversample: str = "100:3,500:2"
    oversampled: int = 40_000  # "Train : ~40,000 paires"
    inside: int = 411
    outside: int = 114
    trainable: int = 4_770_000
    penalty: int = 81  # "81x" more for outside than for on
    plateau_patience: int = 3
    patience: int = 5
    val_accuracy: tuple[float, float] = (0.52, 0.58)
    accuracy: tuple[float, float] = (0.73, 0.79)


PAGE = ExperimentSettings()


def class_weights(counts: Sequence[int], total: int | None = None) -> list[float]:
    """N / (C n_c) for each class; `total` N is the sum of the counts unless a text gives another one."""
    whole = sum(counts) if total is None else total
    return [whole / (len(counts) * count) for count in counts]


def epochs_at_lower_rate(plateau_patience: int, patience: int) -> int:
    """Epochs between the first cut of the rates and the stop, where loss and monitored figure stop improving together.

    The rates fall after `plateau_patience` + 1 epochs without a better one (as torch's ReduceLROnPlateau does), the run
    ends after `patience`.
    """
    return max(0, patience - plateau_patience - 1)


def checks(balance: Balance, settings: Settings, trainable: Mapping[str, int]) -> list[str]:
    """The lines for a run that is about to start.

    `balance` is of the training pairs; `trainable` counts trainable parameters by part of the model ("visual
    projection": 4326528).
    """
    lines = [_weights_line(balance)] if balance.weights is not None else []
    if any(times > 1 for times in balance.repeats):
        lines.append(_oversampling_line(balance, settings.oversample))
        if balance.weights is not None:
            lines.append(_both_line(balance))
    if settings.scheduler == "plateau" and settings.patience:
        lines.append(_plateau_line(settings.plateau_patience, settings.patience, settings.min_epochs, settings.monitor))
    parts = ", ".join(f"{name} {count:,}" for name, count in trainable.items())
    lines.append(f"trainable parameters: {sum(trainable.values()):,} ({parts})")
    return lines


def experiment_checks(page: ExperimentSettings = PAGE) -> list[str]:
    """Where the page of Experiment 2 is at odds with itself: what it says, what its rules give."""
    total, summed = page.total, sum(page.counts)
    repeats = class_repeats(page.counts, parse_oversampling(page.oversample))
    seen = dict(zip(RELATIONS, (count * times for count, times in zip(page.counts, repeats, strict=True)), strict=True))
    added = sum(seen.values()) - summed
    weights = class_weights(page.counts, total)
    balance = Balance(RELATIONS, page.counts, tuple(repeats), tuple(weights))
    later = epochs_at_lower_rate(page.plateau_patience, page.patience)
    return [
        f"N: the page says {total:,}, its ten counts sum to {summed:,}",
        (
            "weights N/(C n):"
            f" {', '.join(f'{name} {weight:.2f}' for name, weight in zip(RELATIONS, weights, strict=True))} (N ="
            f" {total:,})"
        ),
        (
            f"oversampling {page.oversample}: inside {seen['inside']} (the page: {page.inside}), outside"
            f" {seen['outside']}, train {total + added:,} (the page: about {page.oversampled:,})"
        ),
        (
            "weights from before oversampling, applied after it: one pair of outside pulls"
            f" {balance.effective_ratio:,.0f} times one of on"
        ),
        (
            f"'{page.penalty}x': {max(weights):.2f} is the weight of outside; against that of on it is"
            f" {max(weights) / min(weights):.0f}:1"
        ),
        (
            f"plateau patience {page.plateau_patience}, stopping patience {page.patience}: {later} epoch(s) at the"
            " lower rate before the end"
        ),
        (
            f"trainable: the page says about {page.trainable:,}; the projection 4096 -> 1024 -> 128 alone has"
            f" {_dense(4096, 1024, 128):,}; a run prints its own count"
        ),
        (
            f"accuracy: the page predicts {_percent(page.accuracy)}, and {_percent(page.val_accuracy)} for validation:"
            " not both can be met"
        ),
    ]


def _dense(*widths: int) -> int:
    """Weights and biases of fully connected layers of these widths."""
    return sum((wide + 1) * narrow for wide, narrow in pairwise(widths))


def _percent(bounds: tuple[float, float]) -> str:
    return f"{100 * bounds[0]:.0f}-{100 * bounds[1]:.0f} %"


def _weights_line(balance: Balance) -> str:
    weights = balance.weights or ()
    most, least = max(weights), min(weights)
    names = balance.classes[weights.index(most)], balance.classes[weights.index(least)]
    return (
        f"class weights {least:.2f} ({names[1]}) to {most:.2f} ({names[0]}): a mistake on {names[0]} costs"
        f" {most / least:.0f} times one on {names[1]}, not {most:.0f} times"
    )


def _oversampling_line(balance: Balance, rule: str) -> str:
    columns = zip(balance.classes, balance.counts, balance.repeats, balance.seen, strict=True)
    repeated = ", ".join(
        f"{name} {count:,} -> {seen:,} (x{times})" for name, count, times, seen in columns if times > 1
    )
    before, after = sum(balance.counts), sum(balance.seen)
    return (
        f"oversampling {rule}: {repeated}; {before:,} -> {after:,} pairs an epoch ({100 * (after / before - 1):+.1f} %)"
    )


def _both_line(balance: Balance) -> str:
    weights = balance.weights or ()
    pull = [times * weight for times, weight in zip(balance.repeats, weights, strict=True)]
    most, least = balance.classes[pull.index(max(pull))], balance.classes[pull.index(min(pull))]
    return (
        f"class weights are those of the counts before oversampling: both multiply, one pair of {most} pulls "
        f"{balance.effective_ratio:,.0f} times one of {least}"
    )


def _plateau_line(plateau_patience: int, patience: int, min_epochs: int, monitor: str) -> str:
    later = epochs_at_lower_rate(plateau_patience, patience)
    return (
        f"plateau patience {plateau_patience}, stopping patience {patience}: once val_loss and {monitor} stop improving"
        f" together, {later} epoch(s) run at the lower rate before the end"
        + (f" (never before epoch {min_epochs})" if min_epochs else "")
    )
