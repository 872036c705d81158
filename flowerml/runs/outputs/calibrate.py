"""The calibration of a run's best model: fitted, and what it does in a page of figures."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flowerml.evaluation.calibration import Calibration
from flowerml.evaluation.fit_calibration import (
    MIN_EXAMPLES,
    CalibrationReport,
    fit_calibration,
    measure_calibration,
)
from flowerml.evaluation.metrics import Predictions, join_predictions
from flowerml.evaluation.prediction_table import PredictionTable, read_predictions
from flowerml.files import write_bytes, write_json
from flowerml.optional_files import write_optional

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calibrated:
    """What to store in `best.pth`, the files that were written, metrics for MLflow, and a line for the terminal."""

    calibration: Calibration
    metrics: dict[str, float]
    paths: list[Path]
    line: str


def calibrate(
    folder: Path, predictions: Predictions, runs: Sequence[str] = (), *, energies: bool = True
) -> Calibrated | None:
    """Fit a calibration to validation predictions; None with fewer than MIN_EXAMPLES photos.

    `runs` are the names of those that predicted, where that is not the model itself; `energies` as `fit_calibration`
    takes it. Writes `calibration.json` and `calibration.png` into `folder`. With it, predicted classes do not change;
    probabilities only where that lowers the loss of photos that did not take part in the fit.

    Raises:
        UserError: `calibration.json` can't be written.
    """
    if len(set(predictions.ids)) < MIN_EXAMPLES:
        return None
    report = measure_calibration(predictions)
    calibration = fit_calibration(predictions, scaled=report.helps, energies=energies)
    content, figure = folder / "calibration.json", folder / "calibration.png"
    write_json(content, report.as_json(calibration, runs))
    paths = [content]
    if write_optional(figure, lambda path: _write_figure(path, report, calibration.temperature)):
        paths.append(figure)
    temperature = calibration.temperature
    line = report.line(temperature)
    if runs:
        line += f", by the validation photos of {', '.join(runs)}"
    return Calibrated(calibration, report.as_metrics(temperature), paths, line)


def calibrate_by_runs(folder: Path, classes: Sequence[str], folders: Sequence[Path]) -> Calibrated | None:
    """Calibrate a model without validation photos by other runs of its configuration, as `calibrate` does.

    `folders` hold their predictions.csv and are named as the runs; one that is unreadable or has other classes is left
    out with a warning. Seeds of one configuration need about the same temperature: on real photos one that two seeds
    fitted was as good for a third as its own (`benchmarks/calibration.py --across`).

    Raises:
        UserError: as `calibrate`.
    """
    read = {one.name: _read(one, classes) for one in folders}
    usable = {name: table for name, table in read.items() if table is not None}
    if not usable:
        return None
    energies = all(table.energies is not None for table in usable.values())
    pooled = join_predictions([table.as_predictions() for table in usable.values()])
    return calibrate(folder, pooled, tuple(usable), energies=energies)


def _read(folder: Path, classes: Sequence[str]) -> PredictionTable | None:
    table = read_predictions(folder / "predictions.csv")
    if table is None or list(table.classes) != list(classes):
        reason = "can't be read" if table is None else "is of other classes"
        logger.warning(f"{folder / 'predictions.csv'} {reason}: the calibration goes without it")
        return None
    return table


def _write_figure(path: Path, report: CalibrationReport, temperature: float) -> None:
    from flowerml.reporting.figures.calibration_figure import calibration_figure  # Matplotlib, only after the training
    from flowerml.reporting.figures.drawing import png_bytes

    write_bytes(path, png_bytes(calibration_figure(report, temperature)))
