"""Palette, style, header and PNG export of all matplotlib figures; the confusion matrix.

Only matplotlib's object interface is used: no pyplot, no global state. Colours are the Okabe-Ito palette and a
one-hue sequential map, both readable with the common colour-vision deficiencies.
"""

import io
import textwrap
from collections.abc import Sequence
from functools import cache
from itertools import groupby
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.text import Text
from matplotlib.ticker import PercentFormatter
from matplotlib.typing import RcKeyType

BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
INK, MUTED, FAINT = "#222222", "#595959", "#D9D9D9"
FONT = "DejaVu Sans"  # comes with matplotlib
_TEXT: dict[RcKeyType, Any] = {"font.family": FONT, "font.size": 9.0, "text.color": INK, "text.usetex": False}
_AXES: dict[RcKeyType, Any] = {"axes.labelcolor": INK, "axes.edgecolor": MUTED, "axes.axisbelow": True}
STYLE: dict[RcKeyType, Any] = {**_TEXT, **_AXES, "legend.frameon": False}
MANY_CLASSES = 15  # with more, a cell has no room for a percentage
TOO_MANY_CLASSES = 40  # with more, the matrix keeps its size: shades without texts, and a list of the worst confusions
_LARGE_SIDE = 7.0  # inches
_LISTED = 25  # confusions
WHITE_FROM = 0.67  # share of a row from which white text has the better contrast (at least 4:1)


@cache
def _characters() -> frozenset[int]:
    """The code points that the figures' font has; line breaks, which matplotlib handles, count too."""
    return frozenset({*get_font(findfont(FONT)).get_charmap(), ord("\n")})


def drawable(text: str) -> str:
    """`text` with the code points (U+1F33B) in place of characters that the figures' font lacks, such as emoji.

    matplotlib would draw the same box for each of them, and warn each time.
    """
    if all(ord(char) in _characters() for char in text):
        return text
    words: list[str] = []
    for lacks, run in groupby(text, lambda char: ord(char) not in _characters()):
        chars = "".join(run)
        # Variation selectors only choose between two pictures of the character before them.
        codes = [f"U+{ord(char):04X}" for char in chars if not 0xFE00 <= ord(char) <= 0xFE0F]
        words += codes if lacks else [chars]
    return " ".join(word.strip(" ") for word in words)


def shorten(name: str, limit: int = 28) -> str:
    """Cut a name to `limit` characters in its middle, as names differ most at their ends; see `drawable`."""
    name = drawable(name)
    return name if len(name) <= limit else f"{name[: limit - 11]}…{name[-10:]}"


def title_lines(title: str, width: float) -> list[str]:
    """Wrap a title to a figure `width` inches wide."""
    return textwrap.wrap(drawable(title), max(20, int((width - 0.3) / 0.118))) or [""]


def header(figure: Figure, title: str, subtitle: str) -> None:
    """Write a bold title and a subtitle at the top left: half an inch, and 0.22 inches per title line."""
    width, height = figure.get_size_inches()
    lines = title_lines(title, width)
    style: dict[str, Any] = {"ha": "left", "va": "top", "parse_math": False}
    figure.text(0.15 / width, 1 - 0.15 / height, "\n".join(lines), fontsize=13, fontweight="bold", **style)
    below = 0.2 + 0.22 * len(lines)
    figure.text(0.15 / width, 1 - below / height, subtitle, fontsize=10, color=MUTED, **style)


def _cell_texts(axes: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    """Write count and row percentage into every cell; with many classes only counts above 0."""
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        colour = MUTED if not count else "white" if share > WHITE_FROM else INK
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


def _fit_figure(figure: Figure, axes: Axes, bar: Axes, *, side: float, title: str, subtitle: str) -> None:
    """Make the matrix a square of `side` inches, and the figure as large as it needs with labels, bar and title."""
    axes.set_position((0.0, 0.0, side / 6.0, side / 6.0))
    # Automatic layouts cut long labels of axes with a fixed aspect, so the labels are measured.
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

    `matrix` (C, C) has non-negative integer counts: rows are true classes, columns predicted ones, both in the order of
    `classes`. A row without images has "–" for percentages; with more than 15 classes the cells have counts only, and
    with more than 40 no texts: the most frequent confusions stand beside them.
    Raises ValueError for another shape, no class, or a negative count.
    """
    counts = np.asarray(matrix)
    size = len(classes)
    if size == 0 or counts.shape != (size, size) or counts.dtype.kind not in "iu" or counts.min() < 0:
        raise ValueError(f"not counts for {size} classes: shape {counts.shape}, type {counts.dtype}, or a negative one")
    rows, right = counts.sum(axis=1), int(np.trace(counts))
    shares, total = counts / np.maximum(rows, 1)[:, None], int(rows.sum())
    names = [shorten(" ".join(name.split())) for name in classes]
    cell = 1.2 if size <= 3 else 0.9 if size <= 6 else 0.68 if size <= MANY_CLASSES else 0.36
    accuracy = f"accuracy {right / total:.1%} ({right} of {total} images)" if total else "no images"
    if size > TOO_MANY_CLASSES:
        return _large_figure(counts, shares, names, title, accuracy)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.0, 6.0))
        axes, bar = figure.add_axes((0.0, 0.0, 1.0, 1.0)), figure.add_axes((0.0, 0.0, 1.0, 1.0))
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        _class_axes(axes, names, rows, cell)
        _cell_texts(axes, counts, shares)
        figure.colorbar(image, cax=bar, format=PercentFormatter(1.0)).outline.set_visible(False)
        bar.set_ylabel("share of the true class", color=MUTED)
        bar.tick_params(length=0, labelsize=8, labelcolor=MUTED)
        _fit_figure(figure, axes, bar, side=size * cell, title=title, subtitle=accuracy)
    return figure


def _large_figure(counts: np.ndarray, shares: np.ndarray, names: Sequence[str], title: str, subtitle: str) -> Figure:
    """As `confusion_figure`, in a size that does not depend on the number of classes."""
    side, width = _LARGE_SIDE, _LARGE_SIDE + 6.0
    height = side + 0.22 * len(title_lines(title, width)) + 1.1
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        header(figure, title, subtitle)
        axes = figure.add_axes((0.75 / width, 0.6 / height, side / width, side / height))
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        label = f"number of the {{}} class, in the order of confusion_matrix.json (0 to {len(names) - 1})"
        axes.set(xlabel=label.format("predicted"), ylabel=label.format("true"))
        axes.spines[:].set_color(FAINT)
        lines = [f"{count}  {names[row]} → {names[column]}" for row, column, count in worst_confusions(counts, _LISTED)]
        text = "\n".join(["most frequent confusions (true → predicted)", "", *(lines or ["none"])])
        style: dict[str, Any] = {"ha": "left", "va": "top", "parse_math": False, "linespacing": 1.5}
        figure.text((side + 1.0) / width, (side + 0.6) / height, text, fontsize=7, **style)
    return figure


def worst_confusions(counts: np.ndarray, limit: int) -> list[tuple[int, int, int]]:
    """(true class, predicted class, count) of the most frequent confusions in `counts` (C, C), at most `limit`."""
    wrong = np.array(counts)
    np.fill_diagonal(wrong, 0)
    rows, columns = np.nonzero(wrong)
    order = np.argsort(-wrong[rows, columns], kind="stable")[:limit]
    return [(int(rows[i]), int(columns[i]), int(wrong[rows[i], columns[i]])) for i in order]


def png_bytes(figure: Figure, dpi: int = 130) -> bytes:
    """Encode a figure as a PNG file at `dpi` dots per inch; reproducible, as no version or date is written."""
    buffer = io.BytesIO()
    for artist in figure.findobj(Text):
        if isinstance(artist, Text) and (text := drawable(artist.get_text())) != artist.get_text():
            artist.set_text(text)
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()
