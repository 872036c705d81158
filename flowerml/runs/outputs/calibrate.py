"""The calibration of a run's best model: in `best.pth`, and what it does in a page of figures."""

import logging
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

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calibrated:
    """The files that were written beside `best.pth`, and metrics for MLflow."""

    metrics: dict[str, float]
    paths: list[Path]


def calibrate(weights: Path, predictions: Predictions) -> Calibrated | None:
    """Fit a calibration to validation predictions and store it in `weights`; None with fewer than MIN_EXAMPLES.

    Writes `calibration.json` and `calibration.png` beside it. Predicted classes do not change.

    Raises:
        UserError: the weights can't be read or written.
    """
    if len(predictions.labels) < MIN_EXAMPLES:
        return None
    report = measure_calibration(predictions)
    calibration = fit_calibration(predictions)
    save_checkpoint(weights, replace(load_checkpoint(weights), calibration=calibration))
    content, figure = weights.with_name("calibration.json"), weights.with_name("calibration.png")
    write_json(content, report.as_json(calibration))
    paths = [content]
    if write_optional(figure, lambda path: _write_figure(path, report, calibration.temperature)):
        paths.append(figure)
    return Calibrated(report.as_metrics(calibration.temperature), paths)


def _write_figure(path: Path, report: CalibrationReport, temperature: float) -> None:
    from flowerml.reporting.calibration_figure import calibration_figure  # Matplotlib, only after the training
    from flowerml.reporting.figures import png_bytes

    write_bytes(path, png_bytes(calibration_figure(report, temperature)))
