"""The report's figures as SVG inside the page: their colours are the page's, light and dark, and they shrink with it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

from flowerml.campaign.report.snapshot import RunRow
from flowerml.evaluation.metrics import wilson_interval
from flowerml.reporting.html import text

STYLE = """
.figure { overflow-x: auto; margin-top: 10px; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg .faint { fill: var(--muted); }
svg .grid { stroke: var(--line); stroke-width: 1; fill: none; }
svg .bar { stroke: var(--right-bar); stroke-width: 3; opacity: .45; stroke-linecap: round; }
svg .dot { fill: var(--right-bar); }
svg .lead .bar, svg .line.lead { stroke: var(--wrong-bar); } svg .lead .dot { fill: var(--wrong-bar); }
svg .line { fill: none; stroke: var(--right-bar); stroke-width: 1.6; opacity: .45; }
svg .line.lead { stroke-width: 2.6; opacity: 1; }
svg .even { stroke: var(--muted); stroke-dasharray: 4 4; fill: none; }
"""
_LEFT, _RIGHT, WIDTH = 250, 60, 900
_NARROW = 420


def accuracy_dots(runs: Sequence[RunRow], chosen: Sequence[str]) -> str:
    """Every run's validation accuracy as a dot with its 95 % interval over pictures (Wilson); those of a chosen
    configuration stand out.
    """
    shown = [run for run in runs if run.accuracy is not None]
    if not shown:
        return ""
    ends = [_interval(run) for run in shown]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    pad = max(0.005, 0.06 * (high - low))
    low, high = max(0.0, low - pad), min(1.0, high + pad)
    height = 30 + 26 * len(shown)

    def x(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    parts = [_x_grid(x, low, high, height - 24, percent=True)]
    for place, (run, (start, end)) in enumerate(zip(shown, ends, strict=True)):
        y = 16 + 26 * place
        lead = ' class="lead"' if run.name in chosen or run.config in chosen else ""
        assert run.accuracy is not None
        parts.append(
            f'<g{lead}><text x="0" y="{y + 4}">{text(_cut(run.name))}</text>'
            f'<line class="bar" x1="{x(start):.1f}" x2="{x(end):.1f}" y1="{y}" y2="{y}"/>'
            f'<circle class="dot" cx="{x(run.accuracy):.1f}" cy="{y}" r="5"/>'
            f'<text class="faint" x="{WIDTH - _RIGHT + 8}" y="{y + 4}">{run.accuracy:.4f}</text></g>'
        )
    said = "; ".join(f"{run.name} {run.accuracy:.4f}" for run in shown)
    return drawing(WIDTH, height, f"Validation accuracy of each run with its 95 % interval: {said}", parts)


def epoch_curves(runs: Sequence[RunRow], chosen: Sequence[str], figure: str = "val_accuracy") -> str:
    """One figure of every run over its epochs, overlaid; those of a chosen configuration stand out."""
    series = []
    for run in runs:
        points = [
            (row.number, row.figures[figure]) for row in run.history if isfinite(row.figures.get(figure, float("nan")))
        ]
        if points:
            series.append((run, points))
    if not series:
        return ""
    frame = over_epochs([points for _, points in series])
    parts, x, y = frame.parts, frame.x, frame.y
    for run, points in sorted(series, key=lambda entry: entry[0].name in chosen or entry[0].config in chosen):
        lead = " lead" if run.name in chosen or run.config in chosen else ""
        way = " ".join(f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in points)
        parts.append(f'<polyline class="line{lead}" points="{way}"><title>{text(run.name)}</title></polyline>')
        if len(points) == 1:
            parts.append(f'<circle class="dot" cx="{x(points[0][0]):.1f}" cy="{y(points[0][1]):.1f}" r="3"/>')
    return drawing(WIDTH, frame.height, f"{figure} over the epochs, one line per run", parts)


@dataclass(frozen=True)
class Frame:
    """Grid and numbers of a figure over epochs, and where an epoch and a value lie in it."""

    parts: list[str]
    x: Callable[[float], float]
    y: Callable[[float], float]
    height: int


def over_epochs(series: Sequence[Sequence[tuple[int, float]]]) -> Frame:
    """The frame for some lines, each of (epoch, value); none is empty."""
    values = [value for points in series for _, value in points]
    low, high, last = min(values), max(values), max(points[-1][0] for points in series)
    pad = max(0.005, 0.06 * (high - low))
    low, high, left, height = low - pad, high + pad, 56, 280

    def x(epoch: float) -> float:
        return left + (epoch - 1) / max(1, last - 1) * (WIDTH - left - 20)

    def y(value: float) -> float:
        return 12 + (high - value) / (high - low) * (height - 50)

    parts = [f'<text class="faint" x="{(WIDTH + left) / 2}" y="{height - 4}" text-anchor="middle">epoch</text>']
    for mark in round_marks(low, high, 5):
        parts.append(f'<path class="grid" d="M{left} {y(mark):.1f}H{WIDTH - 20}"/>')
        parts.append(f'<text class="faint" x="{left - 8}" y="{y(mark) + 4:.1f}" text-anchor="end">{mark:.2f}</text>')
    for epoch in epoch_marks(last):
        parts.append(f'<text class="faint" x="{x(epoch):.1f}" y="{height - 22}" text-anchor="middle">{epoch}</text>')
    return Frame(parts, x, y, height)


def reliability(bins: Sequence[tuple[float, float, int]]) -> str:
    """Calibration: for each bin (mean confidence, accuracy, pictures) a dot as large as the bin. On the dashed line, 80
    % sure is right 80 % of the time.
    """
    left, top, side = 48, 10, 300
    largest = max((count for _, _, count in bins), default=1)
    parts = [f'<path class="even" d="M{left} {top + side}L{left + side} {top}"/>']
    for mark in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = left + mark * side, top + (1 - mark) * side
        parts.append(f'<path class="grid" d="M{left} {y:.1f}h{side}"/>')
        parts.append(f'<text class="faint" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{mark:.0%}</text>')
        parts.append(f'<text class="faint" x="{x:.1f}" y="{top + side + 18}" text-anchor="middle">{mark:.0%}</text>')
    for confidence, accuracy, count in bins:
        x, y = left + confidence * side, top + (1 - accuracy) * side
        parts.append(
            f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="{2 + 7 * (count / largest) ** 0.5:.1f}" opacity=".8"/>'
        )
    parts.append(
        f'<text class="faint" x="{left + side / 2}" y="{top + side + 38}" text-anchor="middle">confidence</text>'
    )
    said = "; ".join(
        f"{confidence:.0%} sure, {accuracy:.0%} right ({count} pictures)" for confidence, accuracy, count in bins
    )
    return drawing(_NARROW, top + side + 46, f"Calibration: {said}", parts)


def _interval(run: RunRow) -> tuple[float, float]:
    assert run.accuracy is not None
    return wilson_interval(run.hits, run.total) if run.hits is not None and run.total else (run.accuracy, run.accuracy)


def _x_grid(x, low: float, high: float, bottom: float, *, percent: bool) -> str:  # type: ignore[no-untyped-def]  # noqa: ANN001
    lines = []
    for mark in round_marks(low, high, 6):
        label = f"{mark:.1%}" if percent and high - low < 0.06 else f"{mark:.0%}" if percent else f"{mark:g}"
        lines.append(f'<path class="grid" d="M{x(mark):.1f} 4V{bottom}"/>')
        lines.append(f'<text class="faint" x="{x(mark):.1f}" y="{bottom + 16}" text-anchor="middle">{label}</text>')
    return "".join(lines)


def round_marks(low: float, high: float, about: int) -> list[float]:
    """Round numbers between two ends."""
    for step in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0):
        first = int(low / step) * step
        marks = [first + step * place for place in range(int((high - first) / step) + 1)]
        inside = [round(mark, 6) for mark in marks if low <= mark <= high]
        if len(inside) <= about:
            return inside
    return [low, high]


def epoch_marks(last: int) -> list[int]:
    """The epochs that have their number below a figure: all of a few, otherwise round ones with the first and the last."""
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, last) if last / step <= 12)
    return sorted({1, last, *range(step, last - step // 2, step)})


def _cut(name: str) -> str:
    return name if len(name) <= 36 else f"{name[:24]}…{name[-10:]}"


def drawing(width: int, height: float, about: str, parts: Sequence[str]) -> str:
    """A figure of these parts; `about` says in words what it shows."""
    # On a narrow screen a wide figure scrolls: shrunk to it, nobody could read its names.
    size = "min-width:780px" if width == WIDTH else f"max-width:{width}px"
    drawing = (
        f'<svg viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{text(about)}"'
        f' style="{size}">{"".join(parts)}</svg>'
    )
    return f'<div class="figure">{drawing}</div>'
