"""The figures of a comparison as SVG inside the page: the first side in blue, the second in orange, predicted ranges as
grey bands.
"""

from collections.abc import Callable, Sequence
from math import isfinite

from flowerml.campaign.comparison.data import SeedRun, Side
from flowerml.campaign.comparison.statistics import CampaignComparison, Estimate
from flowerml.campaign.report.svg_figures import WIDTH, drawing, over_epochs
from flowerml.reporting.html import text

STYLE = """
svg .range { fill: var(--muted); opacity: .28; }
svg .second .bar, svg .line.second { stroke: var(--wrong-bar); } svg .second .dot { fill: var(--wrong-bar); }
svg .line.first, svg .line.second { stroke-width: 1.8; opacity: .8; }
svg .first .bar, svg .second .bar { opacity: .55; }
svg .cut { stroke: var(--wrong-bar); stroke-width: 1.5; stroke-dasharray: 2 3; opacity: .8; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 8px 0 0; padding: 0; list-style: none; font-size: .9rem; }
.legend i { display: inline-block; width: 14px; height: 10px; margin-right: 7px; border-radius: 3px; background: var(--right-bar); }
.legend .second i { background: var(--wrong-bar); } .legend .range i { background: var(--muted); opacity: .4; }
"""
_LEFT, _RIGHT, _ROW = 150, 24, 40


def legend(comparison: CampaignComparison, *, ranges: bool = False) -> str:
    """Whose colour is which; with `ranges` also what the grey bands are, where there are any."""
    sides = (("first", comparison.data.first.plan), ("second", comparison.data.second.plan))
    entries = [f'<li class="{kind}"><i></i>{text(plan)}</li>' for kind, plan in sides]
    if ranges and any(line.predicted for line in comparison.recalls):
        entries.append('<li class="range"><i></i>predicted for the second</li>')
    return f'<ul class="legend">{"".join(entries)}</ul>'


def recalls(comparison: CampaignComparison) -> str:
    """Each class's recall on both sides with its interval, the rarest class first, and the predicted range behind."""
    lines = comparison.recalls
    height = 16 + _ROW * len(lines) + 24

    def x(share: float) -> float:
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    parts = []
    for mark in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        parts.append(f'<path class="grid" d="M{x(mark):.1f} 4V{height - 24}"/>')
        parts.append(f'<text class="faint" x="{x(mark):.1f}" y="{height - 6}" text-anchor="middle">{mark:.0%}</text>')
    for place, line in enumerate(lines):
        y = 16 + _ROW * place + _ROW / 2 - 6
        if line.predicted is not None:
            low, high = line.predicted.low, line.predicted.high
            parts.append(
                f'<rect class="range" x="{x(low):.1f}" y="{y - 15:.0f}" width="{x(high) - x(low):.1f}" height="30"'
                ' rx="3"/>'
            )
        parts.append(
            f'<text x="0" y="{y + 1:.0f}">{text(line.of)}</text><text class="faint" x="0" y="{y + 15:.0f}">n ='
            f" {line.n}</text>"
        )
        parts += [
            _dot(kind, one, x, y + shift)
            for kind, one, shift in (("first", line.first, -6), ("second", line.second, 7))
        ]
    one, other = comparison.data.first.plan, comparison.data.second.plan
    said = "; ".join(f"{line.of} {line.first.value:.1%} and {line.second.value:.1%}" for line in lines)
    return drawing(WIDTH, height, f"Recall of each class in {one} and {other}, with 95 % intervals: {said}", parts)


def _dot(kind: str, one: Estimate, x: Callable[[float], float], y: float) -> str:
    assert one.low is not None
    assert one.high is not None
    return (
        f'<g class="{kind}"><line class="bar" x1="{x(one.low):.1f}" x2="{x(one.high):.1f}" y1="{y:.0f}" y2="{y:.0f}"/>'
        f'<circle class="dot" cx="{x(one.value):.1f}" cy="{y:.0f}" r="5"/></g>'
    )


def curves(comparison: CampaignComparison, figure: str) -> str:
    """A figure of every run over its epochs, the best epoch as a dot, cuts of the rates as dotted lines; empty where no
    run has it.
    """
    material = comparison.data
    series = [
        (kind, run, _points(run, figure)) for kind, side in _sides(material.first, material.second) for run in side.runs
    ]
    series = [one for one in series if one[2]]
    if not series:
        return ""
    frame = over_epochs([points for _, _, points in series])
    parts, x, y = frame.parts, frame.x, frame.y
    last = max(points[-1][0] for _, _, points in series)
    for kind, run, points in series:
        way = " ".join(f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in points)
        parts.append(f'<polyline class="line {kind}" points="{way}"><title>{text(run.name)}</title></polyline>')
        parts += [
            f'<g><title>{text(run.name)}</title><path class="cut" d="M{x(epoch + 0.5):.1f} 8V{frame.height - 38}"/></g>'
            for epoch in run.cuts
            if epoch < last
        ]
        parts += [
            f'<g class="{kind}"><circle class="dot" cx="{x(epoch):.1f}" cy="{y(value):.1f}" r="4.5"/></g>'
            for epoch, value in points
            if epoch == run.best_epoch
        ]
    return drawing(WIDTH, frame.height, f"{figure} over the epochs, one line per run", parts)


def _sides(first: Side, second: Side) -> Sequence[tuple[str, Side]]:
    return ("first", first), ("second", second)


def _points(run: SeedRun, figure: str) -> list[tuple[int, float]]:
    found = [(row.number, row.figures[figure]) for row in run.history if figure in row.figures]
    return [(epoch, value) for epoch, value in found if isfinite(value)]
