"""The confusion matrix and what all figures share: texts, scales and lines, not pixels."""

import io

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from flowerml.reporting.figures.drawing import confusion_figure, png_bytes, worst_confusions
from tests.reporting.figures.figure_samples import curves, epoch, texts

MATRIX = np.array([[37, 2, 1], [0, 8, 0], [5, 5, 10]])
CLASSES = ["daisy", "rose", "tulip"]


def test_each_cell_has_its_count_and_row_percentage():
    figure = confusion_figure(MATRIX, CLASSES, "model A")
    axes = figure.axes[0]
    cells: dict[tuple[int, int], list[str]] = {}
    for text in axes.texts:
        x, y = text.get_position()
        cells.setdefault((round(y), round(x)), []).append(text.get_text())
    assert cells[0, 0] == ["37", "92.5%"]
    assert cells[0, 1] == ["2", "5.0%"]
    assert cells[1, 1] == ["8", "100%"]
    assert cells[1, 0] == ["0", "0%"]
    assert cells[2, 0] == ["5", "25.0%"]
    assert len(cells) == 9


def test_confusion_axes_and_title():
    figure = confusion_figure(MATRIX, CLASSES, "model A")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["daisy (40)", "rose (8)", "tulip (20)"]
    assert [label.get_text() for label in axes.get_xticklabels()] == CLASSES
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class (n)")
    assert axes.yaxis_inverted()  # the first class is on top
    assert {"model A", "accuracy 80.9% (55 of 68 images)"} <= set(texts(figure))


@pytest.mark.parametrize("matrix", [[[3, 1], [0, 0]], [[0, 0], [0, 0]]])
def test_a_class_without_images_is_drawn_without_a_warning(matrix):
    figure = confusion_figure(np.array(matrix), ["a", "b"], "t")
    assert png_bytes(figure)
    assert "–" in texts(figure)
    assert "b (0)" in texts(figure)
    assert ("no images" in texts(figure)) == (not np.any(matrix))


@pytest.mark.parametrize("size", [1, 2, 10, 16, 30])
def test_any_number_of_classes_keeps_all_labels_inside_the_figure(size):
    names = [f"a flower with a long name {number}" for number in range(size)]
    figure = confusion_figure(np.eye(size, dtype=int) * 12, names, "a title of many words " * 5)
    figure.set_dpi(100)
    png_bytes(figure, dpi=100)
    frame = figure.bbox
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text():
            box = text.get_window_extent()
            assert frame.contains(box.x0, box.y0), text
            assert frame.contains(box.x1, box.y1), text


def test_many_classes_show_counts_only():
    matrix = np.eye(16, dtype=int) * 12
    matrix[0, 1] = 3
    cells = [text.get_text() for text in confusion_figure(matrix, list("abcdefghijklmnop"), "t").axes[0].texts]
    assert sorted(filter(None, cells)) == ["12"] * 16 + ["3"]


@pytest.mark.parametrize("size", [41, 1000])
def test_very_many_classes_keep_the_figures_size_and_list_the_worst_confusions(size):
    matrix = np.eye(size, dtype=int) * 12
    matrix[3, 7], matrix[40, 0] = 5, 9
    names = [f"species {number} with a rather long latin name" for number in range(size)]
    figure = confusion_figure(matrix, names, "t")
    assert (
        figure.get_size_inches().tolist()
        == confusion_figure(np.eye(41, dtype=int), names[:41], "t").get_size_inches().tolist()
    )
    assert not figure.axes[0].texts
    (listed,) = [text for text in texts(figure) if "→" in text and "species" in text]
    lines = listed.splitlines()[2:]
    assert [line.split()[0] for line in lines] == ["9", "5"]
    assert "species 40" in lines[0]
    assert len(figure.findobj(Text)) < 100
    assert worst_confusions(matrix, 1) == [(40, 0, 9)]
    assert matrix[3, 3] == 12, "the counts are not changed"


def test_names_are_not_parsed_as_formulas_and_long_ones_keep_both_ends():
    names = ["$x^", "a_$\\frac$", "begins " + "x" * 60 + " ends"]
    figure = confusion_figure(MATRIX, names, "50$ $^$")
    assert png_bytes(figure)
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels[:2] == names[:2]
    assert labels[2].startswith("begins x")
    assert labels[2].endswith("x ends")
    assert len(labels[2]) <= 28


def test_cell_text_contrasts_with_its_shade():
    axes = confusion_figure(np.array([[95, 5], [5, 95]]), ["a", "b"], "t").axes[0]
    colours = {text.get_text(): text.get_color() for text in axes.texts}
    assert colours["95"] == "white"
    assert matplotlib.colors.to_rgb(colours["5"])[0] < 0.2


@pytest.mark.parametrize("matrix", [[[0, 0, 0]] * 2, [[1]], [], [[1, -1], [0, 1]], [[0.5, 0.5], [0, 1]]])
def test_invalid_matrices_are_refused(matrix):
    with pytest.raises(ValueError, match="counts"):
        confusion_figure(np.array(matrix), ["a", "b"], "t")
    with pytest.raises(ValueError, match="counts"):
        confusion_figure(np.zeros((0, 0), dtype=int), [], "t")


@pytest.mark.parametrize("kind", ["confusion", "curves"])
def test_png_bytes_are_the_same_each_time_and_carry_no_metadata(kind):
    def make() -> Figure:
        return confusion_figure(MATRIX, CLASSES, "t") if kind == "confusion" else curves([epoch(1), epoch(2)])

    figure = make()
    first = png_bytes(figure)
    assert first == png_bytes(figure) == png_bytes(make())
    picture = Image.open(io.BytesIO(first))
    assert picture.format == "PNG"
    assert set(picture.info) <= {"dpi"}
    assert Image.open(io.BytesIO(png_bytes(figure, dpi=65))).width < picture.width


def test_the_callers_rcparams_are_neither_used_nor_changed():
    before = dict(matplotlib.rcParams)
    plain = png_bytes(confusion_figure(MATRIX, CLASSES, "t"))
    assert dict(matplotlib.rcParams) == before
    with matplotlib.rc_context({"font.size": 20.0, "text.color": "red"}):
        assert png_bytes(confusion_figure(MATRIX, CLASSES, "t")) == plain
