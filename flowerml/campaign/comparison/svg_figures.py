"""Layout of a comparison's figures, in SVG user units; `comparison.html.j2` draws them.

The first side is blue, the second orange, predicted ranges are grey bands.
"""

from dataclasses import dataclass

from flowerml.campaign.comparison.statistics import CampaignComparison, Estimate, MetricRow
from flowerml.campaign.report.svg_figures import (
    WIDTH,
    Curve,
    CurvePlot,
    LinearScale,
    Tick,
    epoch_axes,
    finite_points,
)
from flowerml.translation import ENGLISH, Translation

_NAME_WIDTH, _RIGHT_MARGIN, _ROW_HEIGHT = 150, 24, 40


@dataclass(frozen=True)
class SideInterval:
    """One side's recall with its interval; `kind` (first or second) is the CSS class of its colour."""

    kind: str
    y: float
    low: float
    center: float
    high: float


@dataclass(frozen=True)
class RecallRow:
    """A class with both sides' recalls, and the predicted range as (x, width), None where nothing is predicted."""

    name: str
    n: int | None
    y: float
    predicted: tuple[float, float] | None
    sides: tuple[SideInterval, SideInterval]


@dataclass(frozen=True)
class RecallPlot:
    """Classes below each other; `label` is the figure in words."""

    label: str
    height: float
    ticks: tuple[Tick, ...]
    rows: tuple[RecallRow, ...]


def recall_plot(comparison: CampaignComparison, texts: Translation = ENGLISH) -> RecallPlot:
    """Lay out each class's recall on both sides with its interval and predicted range, the rarest class first."""
    x = LinearScale(0, 1, _NAME_WIDTH, WIDTH - _RIGHT_MARGIN)
    _ = texts.gettext
    plans = _(" and ").join(side.plan for side in comparison.data.sides)
    values = "; ".join(
        f"{row.class_name} {texts.percent(row.first.value)}{_(' and ')}{texts.percent(row.second.value)}"
        for row in comparison.recalls
    )
    return RecallPlot(
        label=_("Recall of each class in {plans}, with 95 % intervals: {values}", plans=plans, values=values),
        height=16 + _ROW_HEIGHT * len(comparison.recalls) + 24,
        ticks=tuple(Tick(x(share), texts.percent(share, 0)) for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
        rows=tuple(_recall_row(row, 30 + _ROW_HEIGHT * index, x) for index, row in enumerate(comparison.recalls)),
    )


def _recall_row(row: MetricRow, y: float, x: LinearScale) -> RecallRow:
    predicted = None
    if row.predicted is not None:
        predicted = x(row.predicted.low), x(row.predicted.high) - x(row.predicted.low)
    sides = _side_interval("first", row.first, y - 6, x), _side_interval("second", row.second, y + 7, x)
    return RecallRow(row.class_name, row.n, y, predicted, sides)


def _side_interval(kind: str, estimate: Estimate, y: float, x: LinearScale) -> SideInterval:
    assert estimate.low is not None  # recalls are shares: they have Wilson's interval
    assert estimate.high is not None
    return SideInterval(kind, y, x(estimate.low), x(estimate.value), x(estimate.high))


def training_curves(comparison: CampaignComparison, metric: str, texts: Translation = ENGLISH) -> CurvePlot | None:
    """Lay out a metric of every run over its epochs, with best epochs and rate cuts; None where no run has it."""
    series = [
        (kind, run, points)
        for kind, side in zip(("first", "second"), comparison.data.sides, strict=True)
        for run in side.runs
        if (points := finite_points(run.history, metric))
    ]
    if not series:
        return None
    axes = epoch_axes([points for _, _, points in series])
    last = max(points[-1][0] for _, _, points in series)
    curves = [
        Curve(
            name=run.name,
            kind=kind,
            points=axes.polyline(points),
            cuts=tuple(axes.x(epoch + 0.5) for epoch in run.lr_cuts if epoch < last),
            dots=tuple((axes.x(epoch), axes.y(value)) for epoch, value in points if epoch == run.best_epoch),
            radius=4.5,
        )
        for kind, run, points in series
    ]
    label = texts.gettext("{metric} over the epochs, one line per run", metric=metric)
    return CurvePlot(label, axes, tuple(curves))
