"""What the report shows of a champion, from its run's `predictions.csv`: confusion matrix, wrong pictures, calibration."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flowerml.campaign.report.svg_figures import reliability
from flowerml.data.decode import BadImage
from flowerml.evaluation.metrics import calibration_error
from flowerml.reporting.html import bar, counted, percent, picture, text, thumbnail_jpeg
from flowerml.tasks import Task

STYLE = """
.confusion { border-collapse: collapse; margin-top: 12px; }
.confusion th, .confusion td { padding: 6px 10px; text-align: center; font-variant-numeric: tabular-nums; border: 1px solid var(--line); }
.confusion th[scope=row] { text-align: right; }
.confusion td i { display: block; height: 4px; margin-top: 3px; border-radius: 2px; background: var(--right-bar); }
.confusion td.off i { background: var(--wrong-bar); }
.sides { display: flex; flex-wrap: wrap; gap: 12px 48px; align-items: flex-start; }
.sides > div { flex: 1 1 320px; min-width: 0; overflow-x: auto; } .sides > .many { flex-basis: 640px; }
.many .confusion th, .many .confusion td { padding: 5px 7px; font-size: .85rem; }
"""
_BINS = 10
_SHOWN = 24  # wrong pictures
_FEW = 6  # classes whose matrix has room beside something else


@dataclass(frozen=True)
class PredictionTable:
    """What a run predicted: names of pictures and classes, labels (N,), and probabilities (N, C)."""

    images: tuple[str, ...]
    classes: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """The class with the highest probability, (N,)."""
        return self.probabilities.argmax(axis=1)


def read_predictions(path: Path) -> PredictionTable | None:
    """A run's `predictions.csv`, None where there is none that can be read."""
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
        classes = tuple(name.removeprefix("p_") for name in rows[0] if name.startswith("p_"))
        labels = np.array([classes.index(row["label"]) for row in rows])
        probabilities = np.array([[float(row[f"p_{name}"]) for name in classes] for row in rows])
        return PredictionTable(tuple(row["image"] for row in rows), classes, labels, probabilities)
    except (OSError, ValueError, KeyError, IndexError):
        return None


def champion_html(said: PredictionTable, train_dir: Path, task: Task) -> str:
    """Confusion matrix beside the calibration, then the wrong pictures, the surest first, as the task shows them."""
    many = ' class="many"' if len(said.classes) > _FEW else ""
    error = calibration_error(said.probabilities, said.labels)
    confusion = f'<h4>Confusion matrix</h4><p class="note">rows: label, columns: prediction</p>{_confusion(said)}'
    sides = (
        f'<div class="sides"><div{many}>{confusion}</div><div><h4>Calibration</h4><p class="note">expected calibration'
        f" error {percent(error)}; a dot per tenth of confidence, as large as its number of"
        f" pictures</p>{reliability(_bins(said))}</div></div>"
    )
    wrong = np.flatnonzero(said.predicted != said.labels)
    order = wrong[np.argsort(-said.probabilities[wrong, said.predicted[wrong]], kind="stable")]
    cards = "".join(_card(said, int(index), train_dir, task) for index in order[:_SHOWN])
    rest = (
        f'<p class="note">the surest {_SHOWN} are shown; errors.html of the run has all</p>'
        if len(order) > _SHOWN
        else ""
    )
    head = f"<h4>{counted(len(order), 'wrong picture')} of {len(said.images):,}</h4>"
    return f'{sides}{head}{rest}<ul class="grid">{cards}</ul>'


def _confusion(said: PredictionTable) -> str:
    size = len(said.classes)
    matrix = np.zeros((size, size), dtype=int)
    np.add.at(matrix, (said.labels, said.predicted), 1)
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in said.classes)
    lines = []
    for row, name in enumerate(said.classes):
        cells = "".join(
            _cell(int(matrix[row, column]), int(matrix[row].sum()), off=row != column) for column in range(size)
        )
        lines.append(f'<tr><th scope="row">{text(name)}</th>{cells}</tr>')
    return f'<table class="confusion"><thead><tr><td></td>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def _cell(count: int, total: int, *, off: bool) -> str:
    if not count:
        return "<td>0</td>"
    return f'<td{" class=off" if off else ""}>{count}<i style="width:{100 * count / max(1, total):.0f}%"></i></td>'


def _bins(said: PredictionTable) -> list[tuple[float, float, int]]:
    confidence = said.probabilities.max(axis=1)
    right = said.predicted == said.labels
    places = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    found = [places == place for place in range(_BINS)]
    return [
        (float(confidence[mask].mean()), float(right[mask].mean()), int(mask.sum())) for mask in found if mask.any()
    ]


def _card(said: PredictionTable, index: int, train_dir: Path, task: Task) -> str:
    image, label, guess = said.images[index], int(said.labels[index]), int(said.predicted[index])
    shares: Sequence[float] = said.probabilities[index]
    names = said.classes
    lines = bar("wrong", names[guess], "predicted", shares[guess]) + bar("right", names[label], "label", shares[label])
    shown = picture(_thumbnail(train_dir, image, task), f"{image}: labelled {names[label]}, predicted {names[guess]}")
    return f'<li class="card">{shown}<dl>{lines}</dl><p>{text(image)}</p></li>'


def _thumbnail(train_dir: Path, name: str, task: Task) -> bytes | None:
    try:
        shown = task.render_by_id(train_dir, name)
    except BadImage:
        return None
    return None if shown is None else thumbnail_jpeg(shown, 200)
