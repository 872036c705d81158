"""The figure of a selection: a row per configuration with every seed as a dot, their mean, and its 95 % interval."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from flowerml.reporting.figures import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    SKY,
    STYLE,
    VERMILLION,
    header,
    short,
    title_lines,
)
from flowerml.selection.decision import Decision
from flowerml.selection.intervals import Over
from flowerml.selection.rank import Standing, require_value
from flowerml.selection.table import resample_percent

SHOWN = 30  # rows: more are no figure any more; the table has all
_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION)  # of seeds, in the order in which they were asked for
_WIDTH, _ROW, _BELOW = 9.5, 0.46, 1.05  # inches: the figure, a row, the axis and the legend
_NAMES, _RIGHT = 0.55, 1.75  # inches: where the names begin, what the columns of figures take
_BAR, _BAND = "#C9D3DC", "#F1F5F9"
_DOT: dict[str, Any] = {
    "linestyle": "",
    "marker": "o",
    "markersize": 6.5,
    "markeredgecolor": "white",
    "markeredgewidth": 0.8,
}


def selection_figure(decision: Decision) -> Figure:
    """Draw the ranking, the winner on top; mean and P(best) stand beside each row as figures.

    The first 30 configurations are drawn. Raises ValueError where none was eligible.
    """
    if not decision.standings:
        raise ValueError("no configuration to draw")
    shown, scope = decision.standings[:SHOWN], decision.scope
    campaign = f", campaign {scope.campaign}" if scope.campaign else ""
    title = f"Selection: {scope.family or 'all families'}, split {decision.split_digest[:8]}{campaign}"
    left = _NAMES + 0.25 + 0.082 * max(8, *(len(_name(one)) for one in shown))
    above, field = 0.72 + 0.22 * len(title_lines(title, _WIDTH)), _ROW * len(shown)
    height = above + field + _BELOW
    with matplotlib.rc_context(STYLE):
        figure = Figure((_WIDTH, height))
        axes = figure.add_axes((left / _WIDTH, _BELOW / height, (_WIDTH - left - _RIGHT) / _WIDTH, field / height))
        _frame(axes, shown)
        for row, standing in enumerate(shown):
            _draw(axes, row, standing)
        _texts(figure, shown, height, above)
        _legends(figure, shown, left / _WIDTH, height)
        header(figure, title, _subtitle(decision))
    return figure


def _subtitle(decision: Decision) -> str:
    runs = decision.standings[0].configuration.runs
    seeds = ", ".join(str(run.seed) for run in runs)
    pictures = f" on {runs[0].total:,} pictures" if runs[0].total else ""
    total = len(decision.standings)
    rows = (
        f"the first {SHOWN} of {total} configurations" if total > SHOWN else f"{total} configuration{'s' * (total > 1)}"
    )
    return f"{rows}, validation accuracy{pictures}, seed{'s' * (len(runs) > 1)} {seeds}"


def _name(standing: Standing) -> str:
    run = standing.configuration.runs[0]
    return short(run.model or run.family)


def _values(standing: Standing) -> list[float]:
    """Accuracies by seed, in percent."""
    return [100 * require_value(run.accuracy) for run in standing.configuration.runs]


def _frame(axes: Axes, shown: Sequence[Standing]) -> None:
    """Limits, axis and grid; the winner's row is on a band of its own."""
    drawn = [value for standing in shown for value in _values(standing)]
    drawn += [100 * end for one in shown if one.interval is not None for end in (one.interval.low, one.interval.high)]
    # A field less than half a point wide would blow up what a single picture decides.
    room = max(0.05 * (max(drawn) - min(drawn)), 0.25)
    axes.set_xlim(max(min(drawn) - room, 0), min(max(drawn) + room, 100))
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_yticks([])
    axes.axhspan(-0.5, 0.5, color=_BAND, linewidth=0, zorder=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}%"))
    axes.grid(axis="x", color=FAINT, linewidth=0.7)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="x", length=3, color=MUTED)


def _draw(axes: Axes, row: int, standing: Standing) -> None:
    """Interval, mean, and the seeds one below the other, so that equal ones are seen."""
    interval, values = standing.interval, _values(standing)
    if interval is not None:
        axes.plot(
            [100 * interval.low, 100 * interval.high],
            [row, row],
            color=_BAR,
            linewidth=11,
            solid_capstyle="butt",
            zorder=1.5,
        )
    mean = 100 * standing.accuracy.mean
    if len(values) > 1:
        axes.plot(
            [mean, mean],
            [row - 0.36, row + 0.36],
            color=INK,
            linewidth=1.8,
            solid_capstyle="butt",
            zorder=2,
            clip_on=False,
        )
    offsets = np.linspace(-0.22, 0.22, len(values)) if len(values) > 1 else np.zeros(1)
    for place, (value, offset) in enumerate(zip(values, offsets, strict=True)):
        axes.plot(value, row + offset, color=_COLOURS[place % len(_COLOURS)], zorder=3, clip_on=False, **_DOT)


def _texts(figure: Figure, shown: Sequence[Standing], height: float, above: float) -> None:
    """Place, model and configuration left of the field, mean and P(best) right of it."""
    at_mean, at_best = (_WIDTH - _RIGHT + 0.8) / _WIDTH, (_WIDTH - 0.15) / _WIDTH  # right edges
    chances = any(one.p_best is not None for one in shown)
    style: dict[str, Any] = {"va": "center", "parse_math": False}
    figures: dict[str, Any] = {"ha": "right", **style}
    for text, x in (("mean", at_mean), *([("P(best)", at_best)] if chances else [])):
        figure.text(x, 1 - (above - 0.12) / height, text, color=MUTED, **figures)
    for row, one in enumerate(shown):
        y, line = 1 - (above + (row + 0.5) * _ROW) / height, 0.075 / height
        weight = "bold" if row == 0 else "normal"
        figure.text(
            (_NAMES - 0.15) / _WIDTH, y, str(one.place), fontweight=weight, color=INK if row == 0 else MUTED, **figures
        )
        figure.text(_NAMES / _WIDTH, y + line, _name(one), fontweight=weight, **style)
        figure.text(_NAMES / _WIDTH, y - line, one.configuration.config_id[:8], fontsize=8, color=MUTED, **style)
        figure.text(at_mean, y, f"{100 * one.accuracy.mean:.2f}%", fontweight=weight, **figures)
        if chances:
            figure.text(
                at_best,
                y,
                "–" if one.p_best is None else resample_percent(one.p_best).replace(" ", ""),
                fontweight=weight,
                **figures,
            )


def _legends(figure: Figure, shown: Sequence[Standing], left: float, height: float) -> None:
    """What is what, below the axis: seeds and mean in one line, the interval in the next."""
    runs = shown[0].configuration.runs
    handles = [
        Line2D([], [], color=_COLOURS[place % len(_COLOURS)], label=f"seed {run.seed}", **_DOT)
        for place, run in enumerate(runs)
    ]
    if len(runs) > 1:
        handles.append(
            Line2D([], [], color=INK, linestyle="", marker="|", markersize=11, markeredgewidth=1.8, label="mean")
        )
    look: dict[str, Any] = {
        "loc": "center left",
        "borderaxespad": 0,
        "handletextpad": 0.5,
        "columnspacing": 1.4,
        "handlelength": 1.2,
    }
    figure.legend(handles=handles, bbox_to_anchor=(left, 0.5 / height), ncols=len(handles), **look)
    over = sorted({one.interval.over for one in shown if one.interval is not None})
    if over:
        others = [str(one) for one in over if one is not Over.SEEDS]
        words = (
            "; ".join([*others, *(["where P(best) is –, over seeds alone"] if others and Over.SEEDS in over else [])])
            or "seeds alone"
        )
        bar = Patch(color=_BAR, label=f"95% interval of the mean, over {words}")
        figure.legend(handles=[bar], bbox_to_anchor=(left, 0.22 / height), **look)
