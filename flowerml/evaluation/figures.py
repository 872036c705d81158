"""Figures of one training run: the confusion matrix and the curves over the epochs.

Only matplotlib's object interface is used, so no window system, global figure list or global style is involved.
Colours are the Okabe-Ito palette and a one-hue sequential map, both readable with the common colour-vision deficits.
"""

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter
from matplotlib.typing import RcKeyType

BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
INK, MUTED, FAINT = "#222222", "#595959", "#D9D9D9"
_TEXT: dict[RcKeyType, Any] = {"font.family": "DejaVu Sans", "font.size": 9.0, "text.color": INK, "text.usetex": False}
_AXES: dict[RcKeyType, Any] = {"axes.labelcolor": INK, "axes.edgecolor": MUTED, "axes.axisbelow": True}
STYLE: dict[RcKeyType, Any] = {**_TEXT, **_AXES, "legend.frameon": False}
MANY_CLASSES = 15  # above this, a cell has no room for a percentage
WHITE_FROM = 0.67  # share of a row from which white reads better than ink on its shade (4:1 at worst)
FEW_EPOCHS = 15  # up to this, single points are worth seeing


def short(name: str, limit: int = 28) -> str:
    """A name of at most `limit` characters; the middle is what goes, as ends tell names apart best."""
    return name if len(name) <= limit else f"{name[: limit - 11]}…{name[-10:]}"


def title_lines(title: str, width: float) -> list[str]:
    """The title, broken to fit a figure `width` inches wide."""
    return textwrap.wrap(title, max(20, int((width - 0.3) / 0.118))) or [""]


def header(figure: Figure, title: str, subtitle: str) -> None:
    """Write a bold title and a line below it at the top left: half an inch, and 0.22 inches for each title line."""
    width, height = figure.get_size_inches()
    lines = title_lines(title, width)
    style: dict[str, Any] = {"ha": "left", "va": "top", "parse_math": False}
    figure.text(0.15 / width, 1 - 0.15 / height, "\n".join(lines), fontsize=13, fontweight="bold", **style)
    below = 0.2 + 0.22 * len(lines)
    figure.text(0.15 / width, 1 - below / height, subtitle, fontsize=10, color=MUTED, **style)


def _cell_texts(axes: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    """Write count and row percentage in every cell; with many classes the count only, and none for 0."""
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        colour = MUTED if not count else "white" if share > WHITE_FROM else INK  # zeros step back
        style: dict[str, Any] = {"ha": "center", "color": colour, "parse_math": False}
        if len(counts) > MANY_CLASSES:
            axes.text(column, row, str(count or ""), va="center", fontsize=7.5 if count < 1000 else 5.5, **style)
            continue
        axes.text(column, row - 0.03, str(count), va="bottom", fontsize=11 if count else 9, **style)
        percent = "–" if not counts[row].any() else f"{share:.0%}" if share in (0, 1) else f"{share:.1%}"
        axes.text(column, row + 0.07, percent, va="top", fontsize=7.5, **style)


def _class_axes(axes: Axes, names: Sequence[str], rows: np.ndarray, cell: float) -> None:
    """Label both axes and draw white gaps between the cells; `cell` is a cell's side in inches."""
    size = 8 if len(names) > MANY_CLASSES else 9
    longest = max(len(name) for name in names) * size * 0.6 / 72
    turn = 0 if longest < 0.92 * cell else 45 if len(names) <= MANY_CLASSES else 90
    style: dict[str, Any] = {"fontsize": size, "parse_math": False}
    slant: dict[str, Any] = {"rotation_mode": "anchor", "ha": "right"} if turn == 45 else {}
    axes.set_xticks(range(len(names)), list(names), rotation=turn, **slant, **style)
    axes.set_yticks(range(len(names)), [f"{name} ({n})" for name, n in zip(names, rows, strict=True)], **style)
    axes.set(xlabel="predicted class", ylabel="true class (n)")
    edges = np.arange(1, len(names)) - 0.5
    axes.set_xticks(edges, minor=True)
    axes.set_yticks(edges, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_color(FAINT)


def _fit(figure: Figure, axes: Axes, bar: Axes, *, side: float, title: str, subtitle: str) -> None:
    """Give the matrix a square of `side` inches and size the figure around it, its labels, bar and title."""
    axes.set_position((0.0, 0.0, side / 6.0, side / 6.0))
    # The automatic layouts lose long labels of a panel with a fixed aspect; measured ones always fit.
    box, inner = axes.get_tightbbox(), axes.get_window_extent()
    assert box is not None
    left, below = (inner.x0 - box.x0) / figure.dpi + 0.15, (inner.y0 - box.y0) / figure.dpi + 0.15
    width = max(left + side + 1.05, 5.0)
    height = below + side + 0.22 * len(title_lines(title, width)) + 0.5
    figure.set_size_inches(width, height)
    header(figure, title, subtitle)
    axes.set_position((left / width, below / height, side / width, side / height))
    bar.set_position(((left + side + 0.15) / width, below / height, 0.16 / width, side / height))


def confusion_figure(matrix: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """Draw a confusion matrix with counts and row percentages, shaded by the share of the true class.

    `matrix` has shape (C, C), non-negative whole numbers of images: rows are true classes, columns predicted ones,
    both in the order of `classes`. A row without images is drawn with "–" for its percentages. With more than 15
    classes the cells hold the count only. Raises ValueError for another shape, no class, or a negative count.
    """
    counts = np.asarray(matrix)
    size = len(classes)
    if size == 0 or counts.shape != (size, size) or counts.dtype.kind not in "iu" or counts.min() < 0:
        raise ValueError(f"not counts for {size} classes: shape {counts.shape}, type {counts.dtype}, or a negative one")
    rows, right = counts.sum(axis=1), int(np.trace(counts))
    shares, total = counts / np.maximum(rows, 1)[:, None], int(rows.sum())
    names = [short(" ".join(name.split())) for name in classes]
    cell = 1.2 if size <= 3 else 0.9 if size <= 6 else 0.68 if size <= MANY_CLASSES else 0.36
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.0, 6.0))
        axes, bar = figure.add_axes((0.0, 0.0, 1.0, 1.0)), figure.add_axes((0.0, 0.0, 1.0, 1.0))
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        _class_axes(axes, names, rows, cell)
        _cell_texts(axes, counts, shares)
        figure.colorbar(image, cax=bar, format=PercentFormatter(1.0)).outline.set_visible(False)
        bar.set_ylabel("share of the true class", color=MUTED)
        bar.tick_params(length=0, labelsize=8, labelcolor=MUTED)
        accuracy = f"accuracy {right / total:.1%} ({right} of {total} images)" if total else "no images"
        _fit(figure, axes, bar, side=size * cell, title=title, subtitle=accuracy)
    return figure


def _series(history: Sequence[Mapping[str, float]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and values of one column where it has a finite number; both empty when it never has."""
    x, y = (np.array([row.get(name) for row in history], dtype=float) for name in ("epoch", key))  # None is NaN
    return x[np.isfinite(y)], y[np.isfinite(y)]


def _line(axes: Axes, x: np.ndarray, y: np.ndarray, look: dict[str, Any]) -> None:
    """Draw one series; points far from each other get markers, to be seen at all."""
    sparse = len(x) <= FEW_EPOCHS or bool(np.any(np.diff(x) > 1))
    if len(x):
        axes.plot(x, y, linewidth=1.8, marker="o" if sparse else "", markersize=4.5, **look)


def _score_panel(axes: Axes, history: Sequence[Mapping[str, float]], chance: float | None, first: str) -> None:
    """Two validation scores in percent, the best of each ringed and named in the legend: accuracy and macro-F1, or mean recall before
    accuracy where that is the `first`.
    """
    drawn = [] if chance is None else [100 * chance]
    pair = (("val_accuracy", "accuracy"), ("val_macro_f1", "macro-F1"))
    if first == "mean_recall":
        pair = (("val_mean_recall", "mean recall"), ("val_accuracy", "accuracy"))
    # The second ring is smaller: both stay visible where the two meet.
    for (key, name), colour, ring in zip(pair, (GREEN, PURPLE), (10, 6), strict=True):
        x, y = _series(history, key)
        if len(x):
            y, top = 100 * y, int(np.argmax(y))
            drawn += [y.min(), y.max()]
            # The legend is the one place where this text can't meet a line.
            _line(axes, x, y, {"color": colour, "label": f"{name}\nbest {y[top]:.1f}% (epoch {x[top]:.0f})"})
            axes.plot(x[top], y[top], "o", color=colour, ms=ring, mfc="white", mew=2, zorder=5, clip_on=False)
    axes.set_ylabel("validation score")
    if not axes.lines:
        axes.text(0.5, 0.5, "no validation in this run", transform=axes.transAxes, ha="center", color=MUTED)
        axes.set_yticks([])
        return
    if chance is not None:
        axes.axhline(100 * chance, color=MUTED, linewidth=1.2, linestyle=":", label=f"chance {100 * chance:.3g}%")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}%")
    room = max(4.0, 0.08 * (max(drawn) - min(drawn)))
    axes.set_ylim(max(min(drawn) - room, -0.8), min(max(drawn) + room, 100.8))


def _rate_panel(axes: Axes, history: Sequence[Mapping[str, float]]) -> None:
    """Learning rates on a log scale; a rate of 0 (frozen) isn't drawn."""
    positive: list[float] = []
    for key, name, colour, dash in (("lr_head", "head", ORANGE, "-"), ("lr_backbone", "backbone", SKY, "--")):
        x, y = _series(history, key)
        positive += y[y > 0].tolist()
        # Steps change halfway between two epochs, which is where a rate does change.
        _line(axes, x[y > 0], y[y > 0], {"color": colour, "label": name, "linestyle": dash, "drawstyle": "steps-mid"})
    axes.set(ylabel="learning rate", yscale="log")
    if positive:
        axes.set_ylim(min(positive) / 3, max(positive) * 3)


def _mark_events(panels: Sequence[Axes], best: int | None, cuts: Sequence[int], frozen: int) -> None:
    """Mark best epoch, learning-rate cuts and frozen phase in all panels; the names stand above the top one."""
    left, right = panels[0].get_xlim()
    thaw = min(frozen + 0.5, right)
    best = best if best is not None and left < best < right else None
    for panel in panels:
        if thaw > left:
            panel.axvspan(left, thaw, color="#EFEFEF", linewidth=0, zorder=0)
        label = "rate reduced" if panel is panels[-1] else None
        for epoch in (epoch for epoch in cuts if left < epoch + 0.5 <= right):
            panel.axvline(epoch + 0.5, color=MUTED, linewidth=0.9, linestyle=(0, (5, 3)), zorder=1, label=label)
            label = None
        if best is not None:
            panel.axvline(best, color=INK, linewidth=1.2, zorder=1.5)
    style: dict[str, Any] = {"textcoords": "offset points", "xycoords": panels[0].get_xaxis_transform(), "va": "bottom"}
    if thaw > left:
        panels[0].annotate("backbone frozen", (left, 1), (0, 4), ha="left", color=MUTED, **style)
    if best is not None:
        share = (best - left) / (right - left)
        side = "left" if share < 0.1 else "right" if share > 0.9 else "center"
        up = 17 if thaw > left and share < 0.32 else 4  # a row higher where it would meet the other name
        panels[0].annotate(f"best epoch {best}", (best, 1), (0, up), ha=side, fontweight="bold", **style)


def curves_figure(
    history: Sequence[Mapping[str, float]],
    *,
    best_epoch: int | None,
    lr_changes: Sequence[int],
    freeze_epochs: int,
    title: str,
    chance: float | None = None,
    headline: str = "accuracy",
) -> Figure:
    """Draw losses, validation scores and learning rates over the epochs, in three panels.

    `history` has one row an epoch with `epoch` (from 1), `train_loss`, `val_loss`, `val_accuracy`, `val_macro_f1` and
    `val_mean_recall` (0 to 1; `headline` says which is shown first), `lr_head` and `lr_backbone` (0 while frozen); whatever
    is missing or not finite is left out. `lr_changes` are the epochs after which the rate was cut, `freeze_epochs` the
    number of first epochs with a frozen backbone, `chance` the accuracy (0 to 1) of guessing. Raises ValueError for an empty history.
    """
    epochs = [int(row["epoch"]) for row in history]
    if not epochs:
        raise ValueError("no epoch to draw")
    rect = (0.0, 0.0, 1.0, 1 - (0.5 + 0.22 * len(title_lines(title, 9.5))) / 8.0)  # leaves room for the header
    with matplotlib.rc_context(STYLE):
        figure = Figure((9.5, 8.0), layout=ConstrainedLayoutEngine(rect=rect, w_pad=0.1, h_pad=0.08))
        panels = list(figure.subplots(3, 1, sharex=True))
        panels[0].set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
        _line(panels[0], *_series(history, "train_loss"), {"color": BLUE, "label": "training"})
        _line(panels[0], *_series(history, "val_loss"), {"color": VERMILLION, "label": "validation"})
        panels[0].set(ylabel="loss", ylim=(0, 1.04 * panels[0].get_ylim()[1]))
        _score_panel(panels[1], history, chance, headline)
        _rate_panel(panels[2], history)
        _mark_events(panels, best_epoch, lr_changes, freeze_epochs)
        for panel in panels:
            panel.grid(axis="y", color=FAINT, linewidth=0.7)
            panel.spines[["top", "right"]].set_visible(False)
            panel.tick_params(which="both", length=3, color=MUTED)
            if panel.get_legend_handles_labels()[0]:
                panel.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), borderaxespad=0, labelspacing=0.8)
        panels[-1].xaxis.set_major_locator(MaxNLocator(nbins=12, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
        panels[-1].set_xlabel("epoch")
        figure.align_ylabels(panels)
        header(figure, title, f"{len(epochs)} epochs" if len(epochs) > 1 else "1 epoch")
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once: each further drawing would move the panels a little
    return figure


def png_bytes(figure: Figure, dpi: int = 130) -> bytes:
    """PNG file of a figure at `dpi` dots per inch; equal figures give equal bytes (no version or date is written)."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()
