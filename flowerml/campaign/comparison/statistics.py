"""What both sides came to, how far they differ on the same examples, and what became of each prediction. Pure.

An example counts by the share of seeds that were right about it. Shares have Wilson's interval at the number of
examples; mean recall and all differences have a bootstrap over pictures, each with all its examples, the same ones for
both sides. Chance between seeds is in none of them: figures that are not shares have the range of the seeds in an
interval's place.

To the examples of a difference of shares four made-up ones are added, each a picture of its own: one right on one side
only, one on the other only, two that tell nothing apart (Bonett & Price 2012, as in `flowerml.selection.intervals`).
Without them ten examples without a difference would be proof that there is none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from flowerml.campaign.comparison.data import ComparisonData, SeedRun, Side
from flowerml.campaign.comparison.predictions import PredictedRange, Predictions, RangeVerdict, judge
from flowerml.evaluation.metrics import wilson_interval
from flowerml.evaluation.operating_point import bootstrap_over_images

LEAST = 10  # examples: of fewer, a difference is not given an interval, nor a mean that their class is part of
_MADE_UP = np.array([1.0, -1.0, 0.0, 0.0])
_Span = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A figure as the mean over the seeds, the values by seed, and the ends of its interval (see above); None where
    there is none.
    """

    value: float
    low: float | None
    high: float | None
    by_seed: tuple[float, ...]


@dataclass(frozen=True)
class Difference:
    """Second minus first. `low` and `high`: its 95 % interval, None where there is none to be had."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def sign(self) -> int:
        """1 or -1 where the interval leaves out zero, else 0."""
        if self.low is None or self.high is None:
            return 0
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


@dataclass(frozen=True)
class MetricRow:
    """One figure of both sides. `of` is the class of a recall, `n` its number of examples; None where nothing is
    counted.

    `verdict` and `side` (below or above) say what became of the prediction for the second.
    """

    figure: str
    of: str
    n: int | None
    first: Estimate
    second: Estimate
    difference: Difference
    predicted: PredictedRange | None = None
    verdict: RangeVerdict | None = None
    side: str = ""


@dataclass(frozen=True)
class CampaignComparison:
    """All of it. `recalls` begin with the rarest class; `others` are the figures that are no recall of a class."""

    data: ComparisonData
    others: tuple[MetricRow, ...]
    recalls: tuple[MetricRow, ...]
    absent: tuple[tuple[str, PredictedRange], ...]

    def line(self, figure: str) -> MetricRow:
        """One of `others` by its figure."""
        return next(line for line in self.others if line.figure == figure)

    @property
    def lines(self) -> tuple[MetricRow, ...]:
        """Every figure."""
        return (*self.others, *self.recalls)

    def count(self, verdict: RangeVerdict) -> int:
        """How many predictions have come to that; those of a class without examples can't be told."""
        absent = len(self.absent) if verdict is RangeVerdict.OPEN else 0
        return absent + sum(line.verdict is verdict for line in self.lines)


def compare_campaigns(material: ComparisonData, predictions: Predictions) -> CampaignComparison:
    """Both sides figure by figure."""
    labels, size = material.labels, len(material.classes)
    right = [
        np.stack([run.predicted == labels for run in side.runs]) for side in (material.first, material.second)
    ]  # (S, N) each
    support = np.bincount(labels, minlength=size)
    there, often = np.flatnonzero(support), np.flatnonzero(support >= LEAST)
    spans = _spans(material, [one.mean(axis=0) for one in right], often)
    accuracy = [_share([float(row.mean()) for row in one], len(labels)) for one in right]
    others = [_line("accuracy", "", len(labels), accuracy, spans["accuracy"], predictions)]
    for figure, places in (("mean_recall", there), ("mean_recall_often", often)):
        sure = len(places) == len(often)
        if len(places) and (figure == "mean_recall" or len(places) != len(there)):
            means = [
                _mean_recall(one, labels, places, spans[f"mean recall {side}"] if sure else None)
                for side, one in enumerate(right)
            ]
            span = spans["mean recall"] if sure else None
            others.append(_line(figure, "", int(support[places].sum()), means, span, predictions))
    recalls = []
    for place in sorted(there, key=lambda place: (support[place], place)):
        n, name = int(support[place]), material.classes[place]
        both = [_share([float(row[labels == place].mean()) for row in one], n) for one in right]
        recalls.append(_line("recall", name, n, both, spans[f"recall of {name}"] if n >= LEAST else None, predictions))
    named = {line.of for line in recalls}
    absent = tuple(
        (name, wanted) for (figure, name), wanted in predictions.items() if figure == "recall" and name not in named
    )
    return CampaignComparison(material, (*others, *_of_the_training(material, predictions)), tuple(recalls), absent)


def _spans(material: ComparisonData, shares: Sequence[np.ndarray], often: np.ndarray) -> dict[str, _Span]:
    """95 % intervals over pictures: of each side's mean recall over the classes `often`, and of the differences, by
    name. `shares` (N,) are those of right seeds.
    """
    labels, size, n = material.labels, len(material.classes), len(material.labels)
    apart = np.concatenate([shares[1] - shares[0], np.tile(_MADE_UP, size)])
    of = np.concatenate([labels, np.repeat(np.arange(size), len(_MADE_UP))])
    pictures = [*material.pictures, *(f"made up {place}" for place in range(size * len(_MADE_UP)))]

    def measured(counts: np.ndarray) -> list[float]:
        real, few = counts[:n], counts[: n + len(_MADE_UP)]
        with np.errstate(invalid="ignore"):
            support = np.bincount(labels, weights=real, minlength=size)
            means = [
                float(np.nanmean((np.bincount(labels, weights=real * one, minlength=size) / support)[often]))
                for one in shares
            ]
            recalls = np.bincount(of, weights=counts * apart, minlength=size) / np.bincount(
                of, weights=counts, minlength=size
            )
        return [*means, means[1] - means[0], float((few * apart[: len(few)]).sum() / few.sum()), *recalls.tolist()]

    if not len(often):
        often = np.unique(labels)
    names = [
        "mean recall 0",
        "mean recall 1",
        "mean recall",
        "accuracy",
        *(f"recall of {name}" for name in material.classes),
    ]
    found = bootstrap_over_images(pictures, measured)
    return {name: (float(low), float(high)) for name, (low, high) in zip(names, found, strict=True)}


def _mean_recall(right: np.ndarray, labels: np.ndarray, places: np.ndarray, span: _Span | None) -> Estimate:
    by_seed = tuple(fmean(float(row[labels == place].mean()) for place in places) for row in right)
    low, high = span or (None, None)
    return Estimate(fmean(by_seed), low, high, by_seed)


def _share(by_seed: Sequence[float], n: int) -> Estimate:
    value = fmean(by_seed)
    return Estimate(value, *wilson_interval(value * n, n), tuple(by_seed))


def _of_the_training(material: ComparisonData, predictions: Predictions) -> list[MetricRow]:
    """Figures of the trainings themselves; those that not all runs have are left out."""
    n = len(material.labels)
    sides = (material.first, material.second)
    found = []
    if all("val_accuracy" in run.history[-1].figures for side in sides for run in side.runs):
        both = [_share([run.history[-1].figures["val_accuracy"] for run in side.runs], n) for side in sides]
        found.append(_line("final_val_accuracy", "", n, both, None, predictions))
    read: dict[str, Callable[[SeedRun], float | None]] = {
        "final_val_loss": lambda run: run.history[-1].figures.get("val_loss"),
        "best_epoch": lambda run: float(run.best_epoch),
        "epochs": lambda run: float(run.history[-1].number),
        "minutes_per_epoch": lambda run: run.seconds / 60 / run.history[-1].number,
        "gap_accuracy": lambda run: run.metrics.get("gap_accuracy"),
        "gap_mean_recall": lambda run: run.metrics.get("gap_mean_recall"),
        "gap_loss": lambda run: run.metrics.get("gap_loss"),
    }
    for figure, of in read.items():
        estimates = [one for side in sides if (one := _ranged(side, of)) is not None]
        if len(estimates) == len(sides):
            found.append(_line(figure, "", None, estimates, None, predictions))
    return found


def _ranged(side: Side, of: Callable[[SeedRun], float | None]) -> Estimate | None:
    values = [of(run) for run in side.runs]
    known = tuple(value for value in values if value is not None and np.isfinite(value))
    return Estimate(fmean(known), min(known), max(known), known) if len(known) == len(values) else None


def _line(
    figure: str, of: str, n: int | None, both: Sequence[Estimate], span: _Span | None, predictions: Predictions
) -> MetricRow:
    first, second = both
    difference = Difference(second.value - first.value, *(span or (None, None)))
    wanted = predictions.get((figure, of))
    verdict: RangeVerdict | None = None
    side = ""
    if wanted is not None and second.low is not None and second.high is not None:
        verdict, side = judge(wanted, second.low, second.high)
    elif wanted is not None:
        verdict = RangeVerdict.OPEN
    return MetricRow(figure, of, n, first, second, difference, wanted, verdict, side)
