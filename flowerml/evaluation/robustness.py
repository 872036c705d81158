"""What a classifier's accuracy loses under corruptions: paired with the clean photos, with intervals, as tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flowerml.evaluation.corruptions import CORRUPTIONS, VIEWS, Corruption
from flowerml.evaluation.metrics import Predictions, wilson_interval
from flowerml.selection.intervals import Interval, bootstrap_intervals
from flowerml.settings import Settings

FORMAT = "flowerml-robustness-1"  # of `robustness.json`
_COLUMNS = ("corruption", "strength", "n", "accuracy", "difference", "95 % interval", "")
_RANDAUGMENT_MOST = 30  # the largest magnitude; brightness then changes by up to 90 %
_PIXEL_LEVEL = ("blur", "noise", "JPEG")
_LIGHT = ("darker", "brighter")


@dataclass(frozen=True)
class CorruptedAccuracy:
    """Accuracy under one corruption at one strength: `hits` of `total` photos.

    `difference` is accuracy minus that of the same photos clean, in -1..1; `interval` its 95 % interval over photos.
    """

    corruption: Corruption
    strength: float
    hits: int
    total: int
    difference: float
    interval: Interval

    @property
    def accuracy(self) -> float:
        """The share that is right, in 0..1."""
        return self.hits / self.total

    @property
    def shown(self) -> bool:
        """Whether the interval of the difference leaves out zero."""
        return self.interval.low > 0 or self.interval.high < 0


@dataclass(frozen=True)
class Robustness:
    """Accuracy of `total` photos: `clean_hits` of them are right, and `rows` in the order of `VIEWS`."""

    clean_hits: int
    total: int
    rows: tuple[CorruptedAccuracy, ...]

    @property
    def clean_accuracy(self) -> float:
        """The share of clean photos that is right, in 0..1."""
        return self.clean_hits / self.total

    def of(self, corruption: Corruption) -> tuple[CorruptedAccuracy, ...]:
        """The rows of one corruption, from weak to strong."""
        return tuple(row for row in self.rows if row.corruption is corruption)

    def mean_accuracy(self, corruption: Corruption) -> float:
        """Mean accuracy over the strengths of one corruption, in 0..1."""
        return float(np.mean([row.accuracy for row in self.of(corruption)]))

    @property
    def weakest(self) -> Corruption | None:
        """The corruption with the lowest mean accuracy of those that are shown to cost any; None without one."""
        costly = [one for one in CORRUPTIONS if any(row.shown and row.difference < 0 for row in self.of(one))]
        return min(costly, key=self.mean_accuracy, default=None)

    def as_metrics(self) -> dict[str, float]:
        """Accuracies in 0..1 under names that MLflow takes: clean, by corruption and strength, and their means.

        `accuracy_blur_0.005` is that under blur at strength 0.005, `accuracy_blur` the mean over its strengths, and
        `accuracy_corrupted` the mean over all corruptions and strengths.
        """
        by_strength = {f"accuracy_{row.corruption.name}_{row.strength:g}": row.accuracy for row in self.rows}
        by_kind = {f"accuracy_{one.name}": self.mean_accuracy(one) for one in CORRUPTIONS}
        mean = float(np.mean([row.accuracy for row in self.rows]))
        return {"accuracy_clean": self.clean_accuracy, "accuracy_corrupted": mean, **by_kind, **by_strength}

    def as_json(self) -> dict[str, Any]:
        """Plain values, as in `robustness.json`."""
        low, high = wilson_interval(self.clean_hits, self.total)
        clean = {"hits": self.clean_hits, "accuracy": self.clean_accuracy, "interval_95": {"low": low, "high": high}}
        return {
            "pictures": self.total,
            "clean": clean,
            "corruptions": [
                {
                    "corruption": row.corruption.name,
                    "strength": row.strength,
                    "unit": row.corruption.unit,
                    "hits": row.hits,
                    "accuracy": row.accuracy,
                    "difference": row.difference,
                    "interval_95": row.interval.as_json(),
                    "shown": row.shown,
                }
                for row in self.rows
            ],
            "weakest": None if self.weakest is None else self.weakest.name,
        }


def measure_robustness(clean: Predictions, corrupted: Sequence[Predictions]) -> Robustness:
    """Compare predictions of corrupted views, in the order of `VIEWS`, with those of the clean photos, photo by photo.

    Raises ValueError where they are not of the same photos in one order.
    """
    if any(one.ids != clean.ids for one in corrupted):
        raise ValueError("predictions of other photos, or in another order")
    right = clean.predicted == clean.labels
    rows = []
    for (corruption, strength), predictions in zip(VIEWS, corrupted, strict=True):
        still = predictions.predicted == predictions.labels
        pair = bootstrap_intervals({"clean": right[None], "corrupted": still[None]}, ("corrupted", "clean"))
        assert pair.difference is not None
        difference = (int(still.sum()) - int(right.sum())) / len(right)
        rows.append(CorruptedAccuracy(corruption, strength, int(still.sum()), len(right), difference, pair.difference))
    return Robustness(int(right.sum()), len(right), tuple(rows))


def describe_weakest(measured: Robustness, settings: Settings) -> tuple[str, ...]:
    """The weakest corruption in a sentence; and one with the setting of a training that is known to help, if any."""
    weakest = measured.weakest
    if weakest is None:
        return (f"No corruption is shown to lower the accuracy on these {measured.total} photos.",)
    accuracy = measured.mean_accuracy(weakest)
    line = (
        f"Weakest: {weakest.name}, mean accuracy {accuracy:.4f} over its three strengths (clean"
        f" {measured.clean_accuracy:.4f})."
    )
    advice = helpful_setting(weakest, settings)
    return (line, advice) if advice else (line,)


def helpful_setting(corruption: Corruption, settings: Settings) -> str:
    """The setting that is known to help against a corruption, with its value in this training; "" without one.

    Augmentation helps against corruptions that look like it (Mintun et al., "On Interaction Between Augmentations and
    Corruptions in Natural Corruption Robustness", NeurIPS 2021): of RandAugment's operations those are rotation and
    brightness, which `color_jitter` and `trivialaugment` change too. Mixup lowers the mean error under noise, blur and
    compression (Hendrycks et al., "AugMix", ICLR 2020). A head alone (`probe`) is trained without augmentation.
    """
    magnitude, name = settings.randaugment, corruption.name
    if settings.probe:
        return ""
    if name in _PIXEL_LEVEL and not settings.mixup:
        return (
            "Training with --mixup 0.2 is known to lower the error under noise, blur and compression (this model was"
            " trained without)."
        )
    if settings.trivialaugment or (settings.color_jitter and name in _LIGHT):
        return ""
    if magnitude >= _RANDAUGMENT_MOST or name not in ("rotation", *_LIGHT):
        return ""
    now = f"turns by up to {magnitude} degrees" if name == "rotation" else f"by up to {3 * magnitude} %"
    what = "rotates training photos" if name == "rotation" else "changes the brightness of training photos"
    return (
        f"Training with a larger --randaugment is known to help: it {what} ({magnitude} here: {now}; at most"
        f" {_RANDAUGMENT_MOST})."
    )


def table_cells(measured: Robustness) -> list[tuple[str, ...]]:
    """The table's rows as text: its head, the clean photos, and each corruption at each strength."""
    cells: list[tuple[str, ...]] = [
        _COLUMNS,
        ("clean", "", str(measured.total), f"{measured.clean_accuracy:.4f}", "", "", ""),
    ]
    for row in measured.rows:
        interval = f"{row.interval.low:+.4f} to {row.interval.high:+.4f}"
        texts = (row.corruption.name, row.corruption.label(row.strength), str(row.total), f"{row.accuracy:.4f}")
        cells.append((*texts, f"{row.difference:+.4f}", interval, "" if row.shown else "not shown"))
    return cells


def format_robustness(measured: Robustness) -> str:
    """The table for a terminal."""
    cells = table_cells(measured)
    widths = [max(len(row[place]) for row in cells) for place in range(len(_COLUMNS))]
    return "\n".join(
        "  ".join(
            text.rjust(width) if 1 < place < 5 else text.ljust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def robustness_markdown(measured: Robustness, title: str, remarks: Sequence[str]) -> str:
    """The page: title, table, `remarks` (Markdown), and what the strengths are."""
    head, *rows = table_cells(measured)
    lines = [f"# {title}", "", _row(head), "|---|---|--:|--:|--:|---|---|", *map(_row, rows), ""]
    for remark in remarks:
        lines += [remark, ""]
    lines += [
        "Differences are to the same photos clean, with 95 % intervals bootstrapped over photos; where one holds zero"
        " it is not shown. Photos are corrupted at the size at which the model sees them. Strengths:",
        "",
        *(f"- {one.name}: {one.unit}" for one in CORRUPTIONS),
    ]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
