"""The calibration of a run's best model: in `best.pth`, and what it does in a page of figures."""

from dataclasses import dataclass, replace
from pathlib import Path

from flowerml.evaluation.fit_calibration import (
    MIN_EXAMPLES,
    CalibrationReport,
    fit_calibration,
    measure_calibration,
)
from flowerml.evaluation.metrics import Predictions
from flowerml.files import write_bytes, write_json
from flowerml.optional_files import write_optional
from flowerml.training.checkpoints.checkpoint import load_checkpoint, save_checkpoint


@dataclass(frozen=True)
class Calibrated:
    """The files that were written beside `best.pth`, metrics for MLflow, and a line for the terminal."""

    metrics: dict[str, float]
    paths: list[Path]
    line: str


def calibrate(weights: Path, predictions: Predictions) -> Calibrated | None:
    """Fit a calibration to validation predictions and store it in `weights`; None with fewer than MIN_EXAMPLES.

    Writes `calibration.json` and `calibration.png` beside it. Predicted classes do not change; probabilities only where
    that lowers the loss of photos that did not take part in the fit.

    Raises:
        UserError: the weights can't be read or written.
    """
    if len(predictions.labels) < MIN_EXAMPLES:
        return None
    report = measure_calibration(predictions)
    calibration = fit_calibration(predictions, scaled=report.helps)
    save_checkpoint(weights, replace(load_checkpoint(weights), calibration=calibration))
    content, figure = weights.with_name("calibration.json"), weights.with_name("calibration.png")
    write_json(content, report.as_json(calibration))
    paths = [content]
    if write_optional(figure, lambda path: _write_figure(path, report, calibration.temperature)):
        paths.append(figure)
    temperature = calibration.temperature
    return Calibrated(report.as_metrics(temperature), paths, report.line(temperature))


def _write_figure(path: Path, report: CalibrationReport, temperature: float) -> None:
    from flowerml.reporting.calibration_figure import calibration_figure  # Matplotlib, only after the training
    from flowerml.reporting.figures import png_bytes

    write_bytes(path, png_bytes(calibration_figure(report, temperature)))
