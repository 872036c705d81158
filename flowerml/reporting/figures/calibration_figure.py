"""The reliability diagram of a run, before and after its calibration (Niculescu-Mizil and Caruana, ICML 2005)."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from flowerml.evaluation.fit_calibration import CalibrationReport
from flowerml.evaluation.metrics import wilson_interval
from flowerml.reporting.figures.drawing import BLUE, FAINT, GREEN, MUTED, STYLE, header

_BINS = 10
_SIZE = (9.5, 5.6)  # inches


def calibration_figure(report: CalibrationReport, temperature: float) -> Figure:
    """Draw how often predictions of a confidence are right, with 95 % Wilson intervals and counts per bin."""
    width, height = _SIZE
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=_SIZE)
        header(
            figure,
            f"Calibration on {report.total} validation photos: temperature {temperature:.2f}",
            "measured by cross-fitting: each half of the photos with the temperature that fits the other half",
        )
        parts = (
            ("before", report.confidence_before, report.error_before, report.loss_before, BLUE),
            ("after", report.confidence_after, report.error_after, report.loss_after, GREEN),
        )
        for place, (name, confidence, error, loss, colour) in enumerate(parts):
            left = (0.75 + 4.6 * place) / width
            curve = figure.add_axes((left, 1.75 / height, 3.8 / width, 2.95 / height))
            counts = figure.add_axes((left, 0.55 / height, 3.8 / width, 0.85 / height))
            curve.set_title(f"{name}: calibration error {error:.3f}, loss {loss:.3f}", fontsize=10, loc="left")
            _draw(curve, counts, confidence, report.right, colour)
            if place == 0:
                curve.set_ylabel("share that is right")
                counts.set_ylabel("photos")
    return figure


def _draw(curve: Axes, counts: Axes, confidence: np.ndarray, right: np.ndarray, colour: str) -> None:
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    curve.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
    for index in range(_BINS):
        inside = bins == index
        total = int(inside.sum())
        if not total:
            continue
        hits, x = int(right[inside].sum()), float(confidence[inside].mean())
        low, high = wilson_interval(hits, total)
        curve.plot([x, x], [low, high], color=colour, linewidth=1.5, alpha=0.6)
        curve.plot([x], [hits / total], marker="o", markersize=6, color=colour, markeredgecolor="white")
        counts.bar((index + 0.5) / _BINS, total, width=0.9 / _BINS, color=colour)
    counts.set_yscale("symlog")
    for axes in (curve, counts):
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(color=FAINT, linewidth=0.6)
    curve.set_ylim(0, 1.02)
    curve.yaxis.set_major_formatter(PercentFormatter(1.0))
    counts.set_xlabel("confidence (probability of the predicted class)")
