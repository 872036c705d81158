"""The figure of a robustness measurement: accuracy over the strength of each corruption, a panel for each."""

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from flowerml.evaluation.corruptions import CORRUPTIONS, Corruption
from flowerml.evaluation.robustness import CorruptedAccuracy, Robustness
from flowerml.reporting.figures.drawing import BLUE, FAINT, INK, MUTED, STYLE, header, title_lines

_WIDTH, _COLUMNS = 10.5, 4
_PANEL, _STEP, _LEFT, _BOTTOM = (2.2, 1.75), (2.42, 2.3), 0.65, 0.35  # inches


def robustness_figure(measured: Robustness, title: str) -> Figure:
    """Draw accuracy at each strength with the 95 % interval of its difference to the clean photos.

    The dashed line is the accuracy of the clean photos; a hollow dot is a difference that is not shown.
    """
    rows = -(-len(CORRUPTIONS) // _COLUMNS)
    height = 0.75 + 0.22 * len(title_lines(title, _WIDTH)) + _BOTTOM + (rows - 1) * _STEP[1] + _PANEL[1]
    floor = min(measured.clean_accuracy + row.interval.low for row in measured.rows)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH, height))
        header(
            figure,
            title,
            f"accuracy on {measured.total:,} photos; dashed: clean ({measured.clean_accuracy:.1%}); bars: 95 % interval"
            " of the difference; hollow: not shown",
        )
        for place, corruption in enumerate(CORRUPTIONS):
            line, column = divmod(place, _COLUMNS)
            left, bottom = _LEFT + column * _STEP[0], _BOTTOM + (rows - 1 - line) * _STEP[1]
            axes = figure.add_axes((left / _WIDTH, bottom / height, _PANEL[0] / _WIDTH, _PANEL[1] / height))
            _draw(axes, measured, corruption)
            axes.set_ylim(max(0.0, floor - 0.03), 1.02)
            axes.tick_params(labelleft=column == 0)
            if column == 0:
                axes.set_ylabel("accuracy")
    return figure


def _draw(axes: Axes, measured: Robustness, corruption: Corruption) -> None:
    rows, clean = measured.of(corruption), measured.clean_accuracy
    axes.set_title(corruption.name, fontsize=10, loc="left", color=INK)
    axes.axhline(clean, color=MUTED, linewidth=1, linestyle="--")
    places = range(len(rows))
    axes.plot(places, [row.accuracy for row in rows], color=BLUE, linewidth=1.2)
    for place, row in zip(places, rows, strict=True):
        _dot(axes, place, row, clean)
    axes.set_xlim(-0.4, len(rows) - 0.6)
    axes.set_xticks(list(places), [corruption.label(row.strength) for row in rows])
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _dot(axes: Axes, place: int, row: CorruptedAccuracy, clean: float) -> None:
    ends = [clean + row.interval.low, clean + row.interval.high]
    axes.plot([place, place], ends, color=BLUE, linewidth=2.2, alpha=0.45)
    fill = BLUE if row.shown else "white"
    axes.plot([place], [row.accuracy], marker="o", markersize=6, color=fill, markeredgecolor=BLUE)
