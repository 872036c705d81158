"""Metrics of both sides with intervals, paired differences on the same examples, and verdicts on predictions. Pure.

An example counts by the share of seeds that were right about it. Shares have Wilson's interval at the number of
examples; mean recall and all differences have a bootstrap over pictures, each with all its examples, with the same
resamples for both sides. None of them covers the variance between seeds: metrics that are not shares have the range
over the seeds in place of an interval.

A difference of shares gets four pseudo-examples, each a picture of its own: one right on one side only, one on the
other only, two right or wrong on both (Bonett & Price 2012, as in `flowerml.selection.intervals`). Without them ten
examples without a difference would prove that there is none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from flowerml.campaign.comparison.data import ComparisonData, SeedRun, Side
from flowerml.campaign.comparison.predictions import PredictedRange, PredictedRanges, RangeVerdict, judge_range
from flowerml.evaluation.metrics import wilson_interval
from flowerml.evaluation.pairs.operating_point import bootstrap_over_images

MIN_EXAMPLES = 10  # with fewer, neither a class's difference nor a mean with that class in it gets an interval
_PSEUDO_EXAMPLES = np.array([1.0, -1.0, 0.0, 0.0])
_Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A metric as the mean over the seeds, the values by seed, and the ends of its interval, None where it has none."""

    value: float
    low: float | None
    high: float | None
    by_seed: tuple[float, ...]


@dataclass(frozen=True)
class Difference:
    """Second minus first; `low` and `high` are its 95 % interval, None where it has none."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def sign(self) -> int:
        """1 or -1 where the interval excludes zero, else 0."""
        if self.low is None or self.high is None:
            return 0
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


@dataclass(frozen=True)
class MetricRow:
    """One metric of both sides.

    `class_name` is the class of a recall, "" for other metrics; `n` the number of examples, None where nothing is
    counted. `verdict` is about the prediction for the second side; a missed range lies `side` (below or above) of it.
    """

    metric: str
    class_name: str
    n: int | None
    first: Estimate
    second: Estimate
    difference: Difference
    predicted: PredictedRange | None = None
    verdict: RangeVerdict | None = None
    side: str = ""


@dataclass(frozen=True)
class CampaignComparison:
    """`recalls` are the recalls by class, the rarest class first; `metrics` all others.

    `absent_classes` have a predicted recall and no example.
    """

    data: ComparisonData
    metrics: tuple[MetricRow, ...]
    recalls: tuple[MetricRow, ...]
    absent_classes: tuple[tuple[str, PredictedRange], ...]

    def metric(self, name: str) -> MetricRow:
        """One of `metrics` by its name."""
        return next(row for row in self.metrics if row.metric == name)

    @property
    def rows(self) -> tuple[MetricRow, ...]:
        """All metrics, then all recalls."""
        return (*self.metrics, *self.recalls)

    def count_verdicts(self, verdict: RangeVerdict) -> int:
        """The number of predictions with that verdict; those of a class without examples are open."""
        absent = len(self.absent_classes) if verdict is RangeVerdict.OPEN else 0
        return absent + sum(row.verdict is verdict for row in self.rows)


def compare_campaigns(data: ComparisonData, predictions: PredictedRanges) -> CampaignComparison:
    """Compare both sides metric by metric."""
    correct = [np.stack([run.predicted == data.labels for run in side.runs]) for side in data.sides]  # (S, N) each
    support = np.bincount(data.labels, minlength=len(data.classes))
    frequent = np.flatnonzero(support >= MIN_EXAMPLES)
    intervals = _bootstrap_intervals(data, [side.mean(axis=0) for side in correct], frequent)
    accuracies = [_share_estimate([float(row.mean()) for row in side], len(data.labels)) for side in correct]
    metrics = [
        _metric_row("accuracy", "", len(data.labels), accuracies, intervals["accuracy"], predictions),
        *_mean_recall_rows(data, correct, support, intervals, predictions),
        *_training_rows(data, predictions),
    ]
    recalls = []
    for index in sorted(np.flatnonzero(support), key=lambda index: (support[index], index)):
        n, name = int(support[index]), data.classes[index]
        estimates = [_share_estimate([float(row[data.labels == index].mean()) for row in side], n) for side in correct]
        interval = intervals[f"recall of {name}"] if n >= MIN_EXAMPLES else None
        recalls.append(_metric_row("recall", name, n, estimates, interval, predictions))
    present = {row.class_name for row in recalls}
    absent = [
        (name, predicted)
        for (metric, name), predicted in predictions.items()
        if metric == "recall" and name not in present
    ]
    return CampaignComparison(data, tuple(metrics), tuple(recalls), tuple(absent))


def _bootstrap_intervals(
    data: ComparisonData, shares: Sequence[np.ndarray], frequent: np.ndarray
) -> dict[str, _Interval]:
    """95 % intervals over pictures by name: each side's mean recall over the classes `frequent`, and the differences.

    `shares` (N,) of each side are the shares of seeds that were right.
    """
    labels, size, n, pseudo = data.labels, len(data.classes), len(data.labels), len(_PSEUDO_EXAMPLES)
    differences = np.concatenate([shares[1] - shares[0], np.tile(_PSEUDO_EXAMPLES, size)])
    classes = np.concatenate([labels, np.repeat(np.arange(size), pseudo)])
    pictures = [*data.pictures, *(f"pseudo-example {index}" for index in range(size * pseudo))]
    if not len(frequent):
        frequent = np.unique(labels)

    def statistics(counts: np.ndarray) -> list[float]:
        """All statistics of a resample with each example taken `counts` times."""
        real, few = counts[:n], counts[: n + pseudo]
        with np.errstate(invalid="ignore"):
            support = np.bincount(labels, weights=real, minlength=size)
            means = [
                float(np.nanmean((np.bincount(labels, weights=real * share, minlength=size) / support)[frequent]))
                for share in shares
            ]
            hits = np.bincount(classes, weights=counts * differences, minlength=size)
            recalls = hits / np.bincount(classes, weights=counts, minlength=size)
        accuracy = float((few * differences[: len(few)]).sum() / few.sum())
        return [*means, means[1] - means[0], accuracy, *recalls.tolist()]

    names = ["mean recall 0", "mean recall 1", "mean recall", "accuracy"]
    names += [f"recall of {name}" for name in data.classes]
    intervals = bootstrap_over_images(pictures, statistics)
    return {name: (float(low), float(high)) for name, (low, high) in zip(names, intervals, strict=True)}


def _mean_recall_rows(
    data: ComparisonData,
    correct: Sequence[np.ndarray],
    support: np.ndarray,
    intervals: dict[str, _Interval],
    predictions: PredictedRanges,
) -> list[MetricRow]:
    """Mean recall over all classes with examples and, where these are fewer, over those with `MIN_EXAMPLES`."""
    present, frequent = np.flatnonzero(support), np.flatnonzero(support >= MIN_EXAMPLES)
    averaged = {"mean_recall": present}
    if 0 < len(frequent) < len(present):
        averaged["mean_recall_often"] = frequent
    rows = []
    for metric, classes in averaged.items():
        has_interval = len(classes) == len(frequent)
        estimates = [
            _mean_recall(side, data.labels, classes, intervals[f"mean recall {number}"] if has_interval else None)
            for number, side in enumerate(correct)
        ]
        interval = intervals["mean recall"] if has_interval else None
        rows.append(_metric_row(metric, "", int(support[classes].sum()), estimates, interval, predictions))
    return rows


def _mean_recall(correct: np.ndarray, labels: np.ndarray, classes: np.ndarray, interval: _Interval | None) -> Estimate:
    by_seed = tuple(fmean(float(row[labels == index].mean()) for index in classes) for row in correct)
    low, high = interval or (None, None)
    return Estimate(fmean(by_seed), low, high, by_seed)


def _share_estimate(by_seed: Sequence[float], n: int) -> Estimate:
    value = fmean(by_seed)
    return Estimate(value, *wilson_interval(value * n, n), tuple(by_seed))


def _training_rows(data: ComparisonData, predictions: PredictedRanges) -> list[MetricRow]:
    """Metrics of the trainings themselves; those that not all runs have are left out."""
    n = len(data.labels)
    rows = []
    if all("val_accuracy" in run.history[-1].figures for side in data.sides for run in side.runs):
        shares = [[run.history[-1].figures["val_accuracy"] for run in side.runs] for side in data.sides]
        estimates = [_share_estimate(by_seed, n) for by_seed in shares]
        rows.append(_metric_row("final_val_accuracy", "", n, estimates, None, predictions))
    readers: dict[str, Callable[[SeedRun], float | None]] = {
        "final_val_loss": lambda run: run.history[-1].figures.get("val_loss"),
        "best_epoch": lambda run: float(run.best_epoch),
        "epochs": lambda run: float(run.history[-1].number),
        "minutes_per_epoch": lambda run: run.seconds / 60 / run.history[-1].number,
        "gap_accuracy": lambda run: run.metrics.get("gap_accuracy"),
        "gap_mean_recall": lambda run: run.metrics.get("gap_mean_recall"),
        "gap_loss": lambda run: run.metrics.get("gap_loss"),
    }
    for metric, read in readers.items():
        ranges = [estimate for side in data.sides if (estimate := _seed_range(side, read)) is not None]
        if len(ranges) == len(data.sides):
            rows.append(_metric_row(metric, "", None, ranges, None, predictions))
    return rows


def _seed_range(side: Side, read: Callable[[SeedRun], float | None]) -> Estimate | None:
    """Mean and range over the seeds; None where a run does not have the metric."""
    values = [read(run) for run in side.runs]
    known = tuple(value for value in values if value is not None and np.isfinite(value))
    return Estimate(fmean(known), min(known), max(known), known) if len(known) == len(values) else None


def _metric_row(
    metric: str,
    class_name: str,
    n: int | None,
    estimates: Sequence[Estimate],
    interval: _Interval | None,
    predictions: PredictedRanges,
) -> MetricRow:
    first, second = estimates
    difference = Difference(second.value - first.value, *(interval or (None, None)))
    predicted = predictions.get((metric, class_name))
    verdict: RangeVerdict | None = None
    side = ""
    if predicted is not None:
        verdict = RangeVerdict.OPEN
        if second.low is not None and second.high is not None:
            verdict, side = judge_range(predicted, second.low, second.high)
    return MetricRow(metric, class_name, n, first, second, difference, predicted, verdict, side)
