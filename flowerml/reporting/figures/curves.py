"""The figure of a training run over its epochs: losses, validation scores, learning rates."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

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
    title_lines,
)

SIZE = (9.5, 8.0)  # inches
LEFT, RIGHT = 0.85, 2.35  # inches for the axis labels, and for the widest legend ("best 100.0% (epoch 1000)")
FEW_EPOCHS = 15  # with no more, every point gets a marker


def _series(history: Sequence[Mapping[str, float]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and values of a column where it is finite, (K,) each."""
    x, y = (np.array([row.get(name) for row in history], dtype=float) for name in ("epoch", key))  # None is NaN
    return x[np.isfinite(y)], y[np.isfinite(y)]


def _plot_series(axes: Axes, x: np.ndarray, y: np.ndarray, style: dict[str, Any]) -> None:
    """Draw a series; few or isolated points get markers, as a line alone would not show them."""
    is_sparse = len(x) <= FEW_EPOCHS or bool(np.any(np.diff(x) > 1))
    if len(x):
        axes.plot(x, y, linewidth=1.8, marker="o" if is_sparse else "", markersize=4.5, **style)


def _score_panel(axes: Axes, history: Sequence[Mapping[str, float]], chance: float | None, headline: str) -> None:
    """Two validation scores in percent, the best of each marked: accuracy and macro-F1, or mean recall and accuracy."""
    values = [] if chance is None else [100 * chance]
    columns = (("val_accuracy", "accuracy"), ("val_macro_f1", "macro-F1"))
    if headline == "mean_recall":
        columns = (("val_mean_recall", "mean recall"), ("val_accuracy", "accuracy"))
    # The second ring is smaller: both are visible where the two curves meet.
    for (key, name), colour, ring in zip(columns, (GREEN, PURPLE), (10, 6), strict=True):
        x, y = _series(history, key)
        if len(x):
            y, top = 100 * y, int(np.argmax(y))
            values += [y.min(), y.max()]
            # In the legend, as anywhere in the panel the text could overlap a curve.
            _plot_series(axes, x, y, {"color": colour, "label": f"{name}\nbest {y[top]:.1f}% (epoch {x[top]:.0f})"})
            axes.plot(x[top], y[top], "o", color=colour, ms=ring, mfc="white", mew=2, zorder=5, clip_on=False)
    axes.set_ylabel("validation score")
    if not axes.lines:
        axes.text(0.5, 0.5, "no validation in this run", transform=axes.transAxes, ha="center", color=MUTED)
        axes.set_yticks([])
        return
    if chance is not None:
        axes.axhline(100 * chance, color=MUTED, linewidth=1.2, linestyle=":", label=f"chance {100 * chance:.3g}%")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}%")
    margin = max(4.0, 0.08 * (max(values) - min(values)))
    axes.set_ylim(max(min(values) - margin, -0.8), min(max(values) + margin, 100.8))


def _rate_panel(axes: Axes, history: Sequence[Mapping[str, float]]) -> None:
    """Learning rates on a log scale; a rate of 0 (frozen) is not drawn."""
    positive: list[float] = []
    for key, name, colour, dash in (("lr_head", "head", ORANGE, "-"), ("lr_backbone", "backbone", SKY, "--")):
        x, y = _series(history, key)
        positive += y[y > 0].tolist()
        # The rate changes between two epochs, so the steps do too.
        _plot_series(
            axes, x[y > 0], y[y > 0], {"color": colour, "label": name, "linestyle": dash, "drawstyle": "steps-mid"}
        )
    axes.set(ylabel="learning rate", yscale="log")
    if positive:
        axes.set_ylim(min(positive) / 3, max(positive) * 3)


def _mark_events(panels: Sequence[Axes], best: int | None, cuts: Sequence[int], frozen: int) -> None:
    """Mark best epoch, learning-rate cuts and frozen phase in all panels, labelled above the top one."""
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
        up = 17 if thaw > left and share < 0.32 else 4  # above the other label where they would overlap
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

    `history` has one row per epoch with `epoch` (from 1), `train_loss`, `val_loss`, `val_accuracy`, `val_macro_f1` and
    `val_mean_recall` (0 to 1; `headline` names the first to show), `lr_head` and `lr_backbone` (0 while frozen);
    whatever is missing or not finite is left out. `lr_changes` are the epochs after which the rate was cut,
    `freeze_epochs` the number of first epochs with a frozen backbone, `chance` the accuracy (0 to 1) of guessing.
    Raises ValueError for an empty history.
    """
    epochs = [int(row["epoch"]) for row in history]
    if not epochs:
        raise ValueError("no epoch to draw")
    width, height = SIZE
    above = 0.85 + 0.22 * len(title_lines(title, width))  # header, and the labels over the first panel
    with matplotlib.rc_context(STYLE):
        # Margins in inches: an automatic layout takes longer than drawing the figure.
        figure = Figure(SIZE)
        panels = list(figure.subplots(3, 1, sharex=True))
        figure.subplots_adjust(LEFT / width, 0.65 / height, 1 - RIGHT / width, 1 - above / height, hspace=0.12)
        panels[0].set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
        _plot_series(panels[0], *_series(history, "train_loss"), {"color": BLUE, "label": "training"})
        _plot_series(panels[0], *_series(history, "val_loss"), {"color": VERMILLION, "label": "validation"})
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
    return figure
