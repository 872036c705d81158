"""Choose the weights of an ensemble of two runs on half of their validation photos; judge them on the other half."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import softmax

from flowerml.data.splits.halves import split_halves
from flowerml.errors import UserError, one_line
from flowerml.evaluation.fit_calibration import MIN_EXAMPLES, fit_temperature
from flowerml.evaluation.paired_gain import PairedGain, paired_gain
from flowerml.evaluation.prediction_table import PredictionTable, read_predictions

GRID = tuple(step / 10 for step in range(11))  # weights of the first run; at the ends one run is alone
_TINY = 1e-30


@dataclass(frozen=True)
class WeightChoice:
    """The weights (first, second) that were best on the choosing half; 0 leaves a run out.

    `judged` compares them on the other half with the run that is better alone on the choosing half, named `single`.
    """

    weights: tuple[float, float]
    single: str
    judged: PairedGain

    def line(self) -> str:
        """For the terminal."""
        if 0 in self.weights:
            return f"no ensemble: on the choosing half none is better than {one_line(self.single)} alone"
        first, second = self.weights
        return self.judged.line(f"--ensemble-weights {first:g},{second:g} against {one_line(self.single)} alone")


def choose_weight(
    first: str | Path, second: str | Path, seed: int = 0, groups: Mapping[str, int] | None = None
) -> WeightChoice:
    """Choose the weights of an ensemble of two runs, by the `predictions.csv` of their validation photos.

    `first` and `second` are run folders. The halves, of every class, are drawn by `seed`; pictures with one number in
    `groups` (near-duplicates) are in one half, those without a number each for itself. A temperature of each run is
    fitted to the choosing half. The weight with the highest accuracy there is chosen (ties: the lowest loss).

    Raises:
        UserError: no or other validation photos or classes, fewer than 100 photos, or groups that can't be halved.
    """
    tables = [_read(Path(folder)) for folder in (first, second)]
    own = tables[0]
    _check_same(tables, (str(first), str(second)))
    if len(own.images) < 2 * MIN_EXAMPLES:
        raise UserError(
            f"{first} has {len(own.images)} validation photos: to choose weights by one half and to judge them by the"
            f" other, {2 * MIN_EXAMPLES} are needed"
        )
    halves = split_halves(own.images, own.labels.tolist(), _group_numbers(own.images, groups or {}), seed)
    if not all(halves):
        raise UserError(
            f"{first}: its {len(own.images)} validation photos can't be split into two halves, as near-duplicates stay"
            " together: train with a larger --val-split or more photos"
        )
    choosing, judging = (np.array(half) for half in halves)
    aligned = [_aligned(table, own) for table in tables]
    probabilities = [_calibrated(table, own.labels, choosing) for table in aligned]
    mixtures = [weight * probabilities[0] + (1 - weight) * probabilities[1] for weight in GRID]
    best = max(range(len(GRID)), key=lambda place: _rank(mixtures[place][choosing], own.labels[choosing]))
    alone = max((len(GRID) - 1, 0), key=lambda place: _rank(mixtures[place][choosing], own.labels[choosing]))
    right = [mixtures[place][judging].argmax(axis=1) == own.labels[judging] for place in (alone, best)]
    weight = GRID[best]
    return WeightChoice((weight, round(1 - weight, 1)), str(second if alone == 0 else first), paired_gain(*right))


def _group_numbers(images: Sequence[str], groups: Mapping[str, int]) -> list[int]:
    """The group of each image; one that is in none gets a number of its own."""
    free = max(groups.values(), default=-1) + 1
    return [groups.get(image, free + place) for place, image in enumerate(images)]


def _read(folder: Path) -> PredictionTable:
    table = read_predictions(folder / "predictions.csv")
    if table is None:
        raise UserError(
            f"{folder / 'predictions.csv'}: missing, or not that of a run with validation photos: name the folder of a"
            " finished run"
        )
    return table


def _check_same(tables: list[PredictionTable], names: tuple[str, str]) -> None:
    first, second = tables
    if set(first.classes) != set(second.classes):
        raise UserError(f"{names[0]} and {names[1]} have different classes: an ensemble needs the same ones")
    labels = [
        {image: table.classes[label] for image, label in zip(table.images, table.labels, strict=True)}
        for table in tables
    ]
    if labels[0] != labels[1]:
        raise UserError(
            f"{names[0]} and {names[1]} were validated on different photos: weights are chosen by runs on the same ones"
            " (one --train-dir, --val-split and --split-seed)"
        )


def _aligned(table: PredictionTable, own: PredictionTable) -> np.ndarray:
    """The probabilities (N, C) with the rows and columns of `own`."""
    place = {image: row for row, image in enumerate(table.images)}
    rows = [place[image] for image in own.images]
    columns = [table.classes.index(name) for name in own.classes]
    return table.probabilities[np.ix_(rows, columns)]


def _calibrated(probabilities: np.ndarray, labels: np.ndarray, choosing: np.ndarray) -> np.ndarray:
    logs = np.log(np.maximum(probabilities, _TINY))
    scaled: np.ndarray = softmax(logs / fit_temperature(logs[choosing], labels[choosing]), axis=1)
    return scaled


def _rank(probabilities: np.ndarray, labels: np.ndarray) -> tuple[int, float]:
    own = np.maximum(probabilities[np.arange(len(labels)), labels], _TINY)
    return int((probabilities.argmax(axis=1) == labels).sum()), float(np.log(own).mean())
