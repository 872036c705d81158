"""The figure of a selection: a row per configuration with a dot per seed, their mean, and its 95 % interval."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from flowerml.reporting.figures.drawing import (
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
    shorten,
    title_lines,
)
from flowerml.selection.decision import Decision
from flowerml.selection.intervals import Over
from flowerml.selection.rank import Standing, require_value
from flowerml.selection.records import CandidateRun, seeds_in_words
from flowerml.selection.table import resample_percent

MAX_ROWS = 30  # more would not be readable; the table has all
_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION)  # of seeds, in the order of the selection
_WIDTH, _ROW_HEIGHT, _FOOTER = 9.5, 0.46, 1.05  # inches: the figure, a row, the axis and the legend
_NAMES_LEFT, _NUMBERS_WIDTH = 0.55, 1.75  # inches: left edge of the names, width of the columns of numbers
_BAR, _BAND = "#C9D3DC", "#F1F5F9"
_DOT_STYLE: dict[str, Any] = {
    "linestyle": "",
    "marker": "o",
    "markersize": 6.5,
    "markeredgecolor": "white",
    "markeredgewidth": 0.8,
}


def selection_figure(decision: Decision) -> Figure:
    """Draw the first 30 configurations of the ranking, the winner on top, with mean and P(best) as numbers.

    Raises ValueError where none was eligible.
    """
    if not decision.standings:
        raise ValueError("no configuration to draw")
    standings, scope = decision.standings[:MAX_ROWS], decision.scope
    campaign = f", campaign {scope.campaign}" if scope.campaign else ""
    title = f"Selection: {scope.family or 'all families'}, split {decision.split_digest[:8]}{campaign}"
    left = _NAMES_LEFT + 0.25 + 0.082 * max(8, *(len(_display_name(standing)) for standing in standings))
    header_height, axes_height = 0.72 + 0.22 * len(title_lines(title, _WIDTH)), _ROW_HEIGHT * len(standings)
    height = header_height + axes_height + _FOOTER
    with matplotlib.rc_context(STYLE):
        figure = Figure((_WIDTH, height))
        axes = figure.add_axes(
            (left / _WIDTH, _FOOTER / height, (_WIDTH - left - _NUMBERS_WIDTH) / _WIDTH, axes_height / height)
        )
        _set_up_axes(axes, standings)
        for row, standing in enumerate(standings):
            _draw_row(axes, row, standing)
        _write_columns(figure, standings, height, header_height)
        _add_legends(figure, standings, left / _WIDTH, height)
        header(figure, title, _subtitle(decision))
    return figure


def _subtitle(decision: Decision) -> str:
    runs = decision.standings[0].configuration.runs
    shown = sum(run.total or 0 for run in runs if run.seed == runs[0].seed)  # of one seed, in all its folds
    pictures = f" on {shown:,} pictures" if shown else ""
    total = len(decision.standings)
    rows = (
        f"the first {MAX_ROWS} of {total} configurations"
        if total > MAX_ROWS
        else f"{total} configuration{'s' * (total > 1)}"
    )
    return f"{rows}, validation accuracy{pictures}, {seeds_in_words(runs)}"


def _dot_name(run: CandidateRun) -> str:
    return f"seed {run.seed}" if run.fold is None else f"fold {run.fold}"


def _display_name(standing: Standing) -> str:
    run = standing.configuration.runs[0]
    return shorten(run.model or run.family)


def _percent_accuracies(standing: Standing) -> list[float]:
    """Accuracies by seed, in percent."""
    return [100 * require_value(run.accuracy) for run in standing.configuration.runs]


def _set_up_axes(axes: Axes, standings: Sequence[Standing]) -> None:
    """Limits, axis and grid; the winner's row is shaded."""
    values = [value for standing in standings for value in _percent_accuracies(standing)]
    intervals = [standing.interval for standing in standings if standing.interval is not None]
    values += [100 * end for interval in intervals for end in (interval.low, interval.high)]
    # At least half a point wide, so that the difference of a single picture is not magnified.
    margin = max(0.05 * (max(values) - min(values)), 0.25)
    axes.set_xlim(max(min(values) - margin, 0), min(max(values) + margin, 100))
    axes.set_ylim(len(standings) - 0.5, -0.5)
    axes.set_yticks([])
    axes.axhspan(-0.5, 0.5, color=_BAND, linewidth=0, zorder=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}%"))
    axes.grid(axis="x", color=FAINT, linewidth=0.7)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="x", length=3, color=MUTED)


def _draw_row(axes: Axes, row: int, standing: Standing) -> None:
    """Interval, mean, and the seeds one below the other, so that equal ones do not hide each other."""
    interval, values = standing.interval, _percent_accuracies(standing)
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
    for index, (value, offset) in enumerate(zip(values, offsets, strict=True)):
        axes.plot(value, row + offset, color=_COLOURS[index % len(_COLOURS)], zorder=3, clip_on=False, **_DOT_STYLE)


def _write_columns(figure: Figure, standings: Sequence[Standing], height: float, header_height: float) -> None:
    """Rank, model and configuration to the left of the axes, mean and P(best) to the right."""
    at_mean, at_best = (_WIDTH - _NUMBERS_WIDTH + 0.8) / _WIDTH, (_WIDTH - 0.15) / _WIDTH  # right edges
    has_p_best = any(standing.p_best is not None for standing in standings)
    style: dict[str, Any] = {"va": "center", "parse_math": False}
    right: dict[str, Any] = {"ha": "right", **style}
    for text, x in (("mean", at_mean), *([("P(best)", at_best)] if has_p_best else [])):
        figure.text(x, 1 - (header_height - 0.12) / height, text, color=MUTED, **right)
    for row, standing in enumerate(standings):
        y, line = 1 - (header_height + (row + 0.5) * _ROW_HEIGHT) / height, 0.075 / height
        weight = "bold" if row == 0 else "normal"
        figure.text(
            (_NAMES_LEFT - 0.15) / _WIDTH,
            y,
            str(standing.place),
            fontweight=weight,
            color=INK if row == 0 else MUTED,
            **right,
        )
        figure.text(_NAMES_LEFT / _WIDTH, y + line, _display_name(standing), fontweight=weight, **style)
        figure.text(
            _NAMES_LEFT / _WIDTH, y - line, standing.configuration.config_id[:8], fontsize=8, color=MUTED, **style
        )
        figure.text(at_mean, y, f"{100 * standing.accuracy.mean:.2f}%", fontweight=weight, **right)
        if has_p_best:
            figure.text(
                at_best,
                y,
                "–" if standing.p_best is None else resample_percent(standing.p_best).replace(" ", ""),
                fontweight=weight,
                **right,
            )


def _add_legends(figure: Figure, standings: Sequence[Standing], left: float, height: float) -> None:
    """Two lines of legend below the axis: seeds and mean, then the interval."""
    runs = standings[0].configuration.runs
    handles = [
        Line2D([], [], color=_COLOURS[index % len(_COLOURS)], label=_dot_name(run), **_DOT_STYLE)
        for index, run in enumerate(runs)
    ]
    if len(runs) > 1:
        handles.append(
            Line2D([], [], color=INK, linestyle="", marker="|", markersize=11, markeredgewidth=1.8, label="mean")
        )
    style: dict[str, Any] = {
        "loc": "center left",
        "borderaxespad": 0,
        "handletextpad": 0.5,
        "columnspacing": 1.4,
        "handlelength": 1.2,
    }
    figure.legend(handles=handles, bbox_to_anchor=(left, 0.5 / height), ncols=len(handles), **style)
    over = sorted({standing.interval.over for standing in standings if standing.interval is not None})
    if over:
        others = [str(source) for source in over if source is not Over.SEEDS]
        words = (
            "; ".join([*others, *(["where P(best) is –, over seeds alone"] if others and Over.SEEDS in over else [])])
            or "seeds alone"
        )
        bar = Patch(color=_BAR, label=f"95% interval of the mean, over {words}")
        figure.legend(handles=[bar], bbox_to_anchor=(left, 0.22 / height), **style)
