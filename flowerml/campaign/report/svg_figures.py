"""Layout of the report's figures: what lies where, in SVG user units; `svg_figures.svg.j2` draws them.

Colours are the page's, light and dark. A wide figure scrolls on a narrow screen: shrunk to it, its names would be
unreadable.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite

from flowerml.campaign.report.snapshot import Epoch, RunRow
from flowerml.campaign.report.zero_shot import run_accuracy, zero_shot_rows
from flowerml.translation import ENGLISH, Translation

WIDTH = 900
_ROW_HEIGHT, _NAME_WIDTH, _VALUE_WIDTH = 26, 250, 60
_TICK_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True)
class LinearScale:
    """Maps values from `low` to `high` onto coordinates from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The coordinate of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


@dataclass(frozen=True)
class Tick:
    """A mark on an axis with its label."""

    position: float
    label: str


@dataclass(frozen=True)
class DotRow:
    """An accuracy with its interval: `y` of the row, `low`, `center` and `high` along x."""

    name: str
    y: float
    low: float
    center: float
    high: float
    value: str
    is_chosen: bool


@dataclass(frozen=True)
class DotPlot:
    """Runs below each other; `label` is the figure in words."""

    label: str
    height: float
    ticks: tuple[Tick, ...]
    rows: tuple[DotRow, ...]


@dataclass(frozen=True)
class Curve:
    """A run's metric over its epochs: `points` as a polyline has them; `cuts` (x) and `dots` (x, y) are marked.

    `kind` is the CSS class of its colour, `radius` that of the dots.
    """

    name: str
    kind: str
    points: str
    cuts: tuple[float, ...] = ()
    dots: tuple[tuple[float, float], ...] = ()
    radius: float = 3


@dataclass(frozen=True)
class EpochAxes:
    """Scales and ticks of a figure over epochs."""

    x: LinearScale
    y: LinearScale
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    height: float

    def polyline(self, points: Sequence[tuple[int, float]]) -> str:
        """The `points` attribute of a polyline through (epoch, value)."""
        return " ".join(f"{self.x(epoch):.1f},{self.y(value):.1f}" for epoch, value in points)


@dataclass(frozen=True)
class CurvePlot:
    """Curves over epochs, drawn in their order; `label` is the figure in words."""

    label: str
    axes: EpochAxes
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class ReliabilityPlot:
    """Accuracy over confidence: `bins` are x, y and radius of dots in a square of `side` at (`left`, `top`)."""

    label: str
    bins: tuple[tuple[float, float, float], ...]
    left: int = 48
    top: int = 10
    side: int = 300


def accuracy_dots(runs: Sequence[RunRow], chosen: Sequence[str], texts: Translation = ENGLISH) -> DotPlot | None:
    """Lay out every run's validation accuracy with its 95 % Wilson interval over pictures; None without any accuracy.

    Runs of a configuration in `chosen` are highlighted; below the runs is what their models reach without training.
    """
    leading = {run.name for run in runs if run.name in chosen or run.config in chosen}
    measured = [row for run in runs if (row := run_accuracy(run)) is not None]
    if not measured:
        return None
    measured += zero_shot_rows(runs, texts)
    low, high = min(row.interval[0] for row in measured), max(row.interval[1] for row in measured)
    padding = max(0.005, 0.06 * (high - low))
    low, high = max(0.0, low - padding), min(1.0, high + padding)
    x = LinearScale(low, high, _NAME_WIDTH, WIDTH - _VALUE_WIDTH)
    rows = [
        DotRow(
            name=_shorten_name(row.name),
            y=16 + _ROW_HEIGHT * index,
            low=x(row.interval[0]),
            center=x(row.accuracy),
            high=x(row.interval[1]),
            value=f"{row.accuracy:.4f}",
            is_chosen=row.name in leading,
        )
        for index, row in enumerate(measured)
    ]
    digits = 1 if high - low < 0.06 else 0
    ticks = [Tick(x(value), texts.percent(value, digits)) for value in round_ticks(low, high, 6)]
    values = "; ".join(f"{row.name} {row.accuracy:.4f}" for row in measured)
    label = texts.gettext("Validation accuracy of each run with its 95 % interval: {values}", values=values)
    return DotPlot(label, 30 + _ROW_HEIGHT * len(rows), tuple(ticks), tuple(rows))


def epoch_curves(
    runs: Sequence[RunRow], chosen: Sequence[str], metric: str = "val_accuracy", texts: Translation = ENGLISH
) -> CurvePlot | None:
    """Lay out one metric of every run over its epochs; None where no run has it.

    Runs of a configuration in `chosen` are highlighted and drawn on top.
    """
    series = [
        (run, points)
        for run in sorted(runs, key=lambda run: run.name in chosen or run.config in chosen)
        if (points := finite_points(run.history, metric))
    ]
    if not series:
        return None
    axes = epoch_axes([points for _, points in series])
    curves = [
        Curve(
            name=run.name,
            kind="lead" if run.name in chosen or run.config in chosen else "",
            points=axes.polyline(points),
            dots=((axes.x(points[0][0]), axes.y(points[0][1])),) if len(points) == 1 else (),
        )
        for run, points in series
    ]
    label = texts.gettext("{metric} over the epochs, one line per run", metric=metric)
    return CurvePlot(label, axes, tuple(curves))


def finite_points(history: Sequence[Epoch], metric: str) -> list[tuple[int, float]]:
    """(epoch, value) of the epochs where a metric is known and finite."""
    points = [(row.number, row.figures[metric]) for row in history if metric in row.figures]
    return [(epoch, value) for epoch, value in points if isfinite(value)]


def epoch_axes(series: Sequence[Sequence[tuple[int, float]]]) -> EpochAxes:
    """Axes for lines of (epoch, value), none of them empty."""
    values = [value for points in series for _, value in points]
    low, high, last = min(values), max(values), max(points[-1][0] for points in series)
    padding, height, left = max(0.005, 0.06 * (high - low)), 280, 56
    low, high = low - padding, high + padding
    x = LinearScale(1, max(2, last), left, WIDTH - 20)
    y = LinearScale(low, high, height - 38, 12)
    return EpochAxes(
        x,
        y,
        tuple(Tick(x(epoch), str(epoch)) for epoch in epoch_ticks(last)),
        tuple(Tick(y(value), f"{value:.2f}") for value in round_ticks(low, high, 5)),
        height,
    )


def reliability(bins: Sequence[tuple[float, float, int]], texts: Translation = ENGLISH) -> ReliabilityPlot:
    """Lay out a reliability diagram (Guo et al. 2017) of bins (mean confidence, accuracy, number of pictures)."""
    largest = max((count for _, _, count in bins), default=1)
    values = "; ".join(
        texts.gettext(
            "{confidence} sure, {accuracy} right ({count} pictures)",
            confidence=texts.percent(confidence, 0),
            accuracy=texts.percent(accuracy, 0),
            count=count,
        )
        for confidence, accuracy, count in bins
    )
    plot = ReliabilityPlot(texts.gettext("Calibration: {values}", values=values), ())
    dots = [
        (
            plot.left + confidence * plot.side,
            plot.top + (1 - accuracy) * plot.side,
            2 + 7 * (count / largest) ** 0.5,
        )
        for confidence, accuracy, count in bins
    ]
    return replace(plot, bins=tuple(dots))


def round_ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers between two ends, at most `most` of them."""
    for step in _TICK_STEPS:
        first = int(low / step) * step
        values = [first + step * index for index in range(int((high - first) / step) + 1)]
        inside = [round(value, 6) for value in values if low <= value <= high]
        if len(inside) <= most:
            return inside
    return [low, high]


def epoch_ticks(last: int) -> list[int]:
    """The labelled epochs of an axis: all of a few, otherwise the first, the last and round ones between."""
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, last) if last / step <= 12)
    return sorted({1, last, *range(step, last - step // 2, step)})


def _shorten_name(name: str) -> str:
    return name if len(name) <= 36 else f"{name[:24]}…{name[-10:]}"
