"""The report's section on a champion, from its run's `predictions.csv`: confusion, calibration, wrong pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flowerml.campaign.report.snapshot import RunRow
from flowerml.campaign.report.svg_figures import ReliabilityPlot, reliability
from flowerml.campaign.report.zero_shot import AccuracyRow, run_accuracy, zero_shot_rows
from flowerml.data.decode import BadImage
from flowerml.evaluation.metrics import calibration_error
from flowerml.evaluation.prediction_table import PredictionTable
from flowerml.reporting.thumbnail import thumbnail_jpeg
from flowerml.tasks import Task
from flowerml.translation import ENGLISH, Translation

_BINS = 10  # of the reliability diagram
_MAX_CARDS = 24  # wrong pictures shown
_MANY_CLASSES = 6  # with more, the matrix has no room next to another figure


@dataclass(frozen=True)
class ConfusionCell:
    """A count and its share (0 to 1) of the row."""

    count: int
    share: float
    is_wrong: bool


@dataclass(frozen=True)
class WrongPicture:
    """A wrongly classified picture with the probabilities (0 to 1) of both classes and its thumbnail."""

    image: str
    label: str
    predicted: str
    p_label: float
    p_predicted: float
    jpeg: bytes | None


@dataclass(frozen=True)
class ChampionSection:
    """What is shown of a family's champion. `run` is the best seed of the chosen configuration.

    `accuracies` are its own and those without training; empty where none was measured without.
    """

    family: str
    run: RunRow
    classes: tuple[str, ...]
    confusion: tuple[tuple[ConfusionCell, ...], ...]
    calibration_error: float
    reliability: ReliabilityPlot
    total: int
    wrong: int
    cards: tuple[WrongPicture, ...]
    accuracies: tuple[AccuracyRow, ...] = ()

    @property
    def has_many_classes(self) -> bool:
        """Whether the confusion matrix needs a row of its own."""
        return len(self.classes) > _MANY_CLASSES


def champion_section(
    family: str,
    run: RunRow,
    of_family: Sequence[RunRow],
    predictions: PredictionTable,
    train_dir: Path,
    task: Task,
    texts: Translation = ENGLISH,
) -> ChampionSection:
    """Everything the section shows; the wrong pictures are the most confident ones, most confident first.

    `of_family` are the campaign's runs of the family.
    """
    wrong = np.flatnonzero(predictions.predicted != predictions.labels)
    confidence = predictions.probabilities[wrong, predictions.predicted[wrong]]
    order = wrong[np.argsort(-confidence, kind="stable")]
    return ChampionSection(
        family=family,
        run=run,
        classes=predictions.classes,
        confusion=_confusion_cells(predictions.confusion),
        calibration_error=calibration_error(predictions.probabilities, predictions.labels),
        reliability=reliability(_reliability_bins(predictions), texts),
        total=len(predictions.images),
        wrong=len(wrong),
        cards=tuple(_wrong_picture(predictions, int(index), train_dir, task) for index in order[:_MAX_CARDS]),
        accuracies=_accuracies(run, of_family, texts),
    )


def _accuracies(run: RunRow, of_family: Sequence[RunRow], texts: Translation) -> tuple[AccuracyRow, ...]:
    own, untrained = run_accuracy(run), zero_shot_rows(of_family, texts)
    return (*([] if own is None else [own]), *untrained) if untrained else ()


def _confusion_cells(matrix: np.ndarray) -> tuple[tuple[ConfusionCell, ...], ...]:
    return tuple(
        tuple(
            ConfusionCell(int(count), int(count) / max(1, int(counts.sum())), row != column)
            for column, count in enumerate(counts)
        )
        for row, counts in enumerate(matrix)
    )


def _reliability_bins(predictions: PredictionTable) -> list[tuple[float, float, int]]:
    """Mean confidence, accuracy and number of pictures of each bin of confidence that has any."""
    confidence = predictions.probabilities.max(axis=1)
    is_right = predictions.predicted == predictions.labels
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    return [
        (float(confidence[bins == index].mean()), float(is_right[bins == index].mean()), int((bins == index).sum()))
        for index in np.unique(bins)
    ]


def _wrong_picture(predictions: PredictionTable, index: int, train_dir: Path, task: Task) -> WrongPicture:
    label, predicted = int(predictions.labels[index]), int(predictions.predicted[index])
    shares = predictions.probabilities[index]
    return WrongPicture(
        image=predictions.images[index],
        label=predictions.classes[label],
        predicted=predictions.classes[predicted],
        p_label=float(shares[label]),
        p_predicted=float(shares[predicted]),
        jpeg=_read_thumbnail(train_dir, predictions.images[index], task),
    )


def _read_thumbnail(train_dir: Path, name: str, task: Task) -> bytes | None:
    try:
        image = task.render_by_id(train_dir, name)
    except BadImage:
        return None
    return None if image is None else thumbnail_jpeg(image, 200)
