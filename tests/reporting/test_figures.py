"""What the figures say: their texts, scales and lines, not their pixels."""

import io
import math
import warnings

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from flowerml.reporting.curves import curves_figure
from flowerml.reporting.figures import confusion_figure, png_bytes

MATRIX = np.array([[37, 2, 1], [0, 8, 0], [5, 5, 10]])
CLASSES = ["daisy", "rose", "tulip"]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


def epoch(number: int, **values: float) -> dict[str, float]:
    scores = {"val_accuracy": 0.9 - 0.5 / number, "val_macro_f1": 0.88 - 0.5 / number}
    losses = {"train_loss": 1.0 / number, "val_loss": 1.1 / number}
    rates = {"lr_head": 1e-3, "lr_backbone": 1e-4, "grad_norm": 1.0, "images_per_second": 100.0}
    return {"epoch": number, **losses, **scores, **rates, **values}


def curves(history, **options) -> Figure:
    defaults = {"best_epoch": None, "lr_changes": [], "freeze_epochs": 0, "title": "run"}
    return curves_figure(history, **{**defaults, **options})


@pytest.fixture(autouse=True)
def _warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


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


def test_names_are_not_read_as_formulas_and_long_ones_keep_both_ends():
    names = ["$x^", "a_$\\frac$", "begins " + "x" * 60 + " ends"]
    figure = confusion_figure(MATRIX, names, "50$ $^$")
    assert png_bytes(figure)
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels[:2] == names[:2]
    assert labels[2].startswith("begins x")
    assert labels[2].endswith("x ends")
    assert len(labels[2]) <= 28


def test_cell_text_reads_on_its_shade():
    axes = confusion_figure(np.array([[95, 5], [5, 95]]), ["a", "b"], "t").axes[0]
    colours = {text.get_text(): text.get_color() for text in axes.texts}
    assert colours["95"] == "white"
    assert matplotlib.colors.to_rgb(colours["5"])[0] < 0.2


@pytest.mark.parametrize("matrix", [[[0, 0, 0]] * 2, [[1]], [], [[1, -1], [0, 1]], [[0.5, 0.5], [0, 1]]])
def test_what_is_no_confusion_matrix_is_refused(matrix):
    with pytest.raises(ValueError, match="counts"):
        confusion_figure(np.array(matrix), ["a", "b"], "t")
    with pytest.raises(ValueError, match="counts"):
        confusion_figure(np.zeros((0, 0), dtype=int), [], "t")


def test_curves_mark_best_epoch_cuts_and_frozen_phase():
    history = [epoch(n, lr_backbone=0.0 if n <= 3 else 1e-4) for n in range(1, 21)]
    history[14]["val_accuracy"] = 0.943
    figure = curves(history, best_epoch=15, lr_changes=[8, 12], freeze_epochs=3, chance=0.2)
    found = texts(figure)
    assert found.count("best epoch 15") == 1
    assert found.count("backbone frozen") == 1
    assert found.count("rate reduced") == 1
    assert found.count("chance 20%") == 1
    assert "accuracy\nbest 94.3% (epoch 15)" in found
    assert "macro-F1\nbest 85.5% (epoch 20)" in found
    for panel in figure.axes:
        verticals = sorted(line.get_xdata()[0] for line in panel.lines if list(line.get_ydata()) == [0, 1])
        assert verticals == [8.5, 12.5, 15]
        assert any(patch.get_x() == 0.5 and patch.get_width() == 3 for patch in panel.patches)


def test_frozen_rates_are_left_out_of_the_log_scale():
    history = [epoch(n, lr_backbone=0.0 if n <= 3 else 1e-4) for n in range(1, 21)]
    figure = curves(history, freeze_epochs=3)
    rates = figure.axes[2]
    assert png_bytes(figure)
    assert rates.get_yscale() == "log"
    lines = {line.get_label(): line for line in rates.lines}
    assert list(lines["backbone"].get_xdata()) == list(range(4, 21))
    assert len(lines["head"].get_xdata()) == 20
    assert 0 < rates.get_ylim()[0] < 1e-4


def test_no_rate_at_all_still_draws():
    assert png_bytes(curves([epoch(1, lr_head=0.0, lr_backbone=0.0), epoch(2, lr_head=0.0, lr_backbone=0.0)]))


def test_one_epoch_has_markers_and_one_tick():
    figure = curves([epoch(1)], best_epoch=1)
    assert png_bytes(figure)
    assert "best epoch 1" in texts(figure)
    left, right = figure.axes[2].get_xlim()
    assert [tick for tick in figure.axes[2].get_xticks() if left <= tick <= right] == [1]
    for panel in figure.axes:
        drawn = [line for line in panel.lines if not line.get_label().startswith("_")]
        assert len(drawn) == 2
        for line in drawn:
            assert line.get_marker() == "o"
            assert panel.get_ylim()[0] < line.get_ydata()[0] < panel.get_ylim()[1]


def test_the_score_that_matters_is_drawn_first():
    history = [{**epoch(n), "val_mean_recall": n / 10} for n in range(1, 4)]
    labels = [line.get_label().split("\n")[0] for line in curves(history, headline="mean_recall").axes[1].lines]
    assert [label for label in labels if not label.startswith("_")] == ["mean recall", "accuracy"]
    assert "mean recall" not in texts(curves(history))


@pytest.mark.parametrize("missing", ["absent", "nan", "none"])
def test_no_validation(missing):
    history = [epoch(n) for n in range(1, 4)]
    for row in history:
        for key in ("val_loss", "val_accuracy", "val_macro_f1"):
            if missing == "absent":
                del row[key]
            else:
                row[key] = math.nan if missing == "nan" else None
    figure = curves(history, chance=0.2)
    assert png_bytes(figure)
    assert "no validation in this run" in texts(figure)
    assert "validation" not in texts(figure)
    assert not [text for text in texts(figure) if "best" in text]


def test_validation_of_some_epochs_is_joined_and_marked():
    history = [epoch(n) for n in range(1, 41)]
    for row in history:
        if row["epoch"] % 5:
            row["val_loss"] = math.nan
    lines = {line.get_label(): line for line in curves(history).axes[0].lines}
    assert list(lines["validation"].get_xdata()) == list(range(5, 41, 5))
    assert lines["validation"].get_marker() == "o"
    assert lines["training"].get_marker() in ("", "None")


@pytest.mark.parametrize("epochs", [1, 2, 7, 45, 200])
def test_epoch_ticks_are_whole_numbers(epochs):
    ticks = curves([epoch(n) for n in range(1, epochs + 1)]).axes[2].get_xticks()
    assert all(tick == int(tick) for tick in ticks)
    assert len(ticks) <= 14


@pytest.mark.parametrize("best", [1, 5, 12, 20, 38, 45])
def test_names_of_marks_do_not_meet_and_stay_inside(best):
    figure = curves([epoch(n) for n in range(1, 46)], best_epoch=best, freeze_epochs=3)
    png_bytes(figure, dpi=100)
    found = {text.get_text(): text.get_window_extent() for text in figure.axes[0].texts}
    mark, frozen = found[f"best epoch {best}"], found["backbone frozen"]
    assert not mark.overlaps(frozen)
    assert mark.x0 >= 0
    assert mark.y1 < min(t.get_window_extent().y0 for t in figure.texts)


def test_marks_outside_the_history_are_left_out():
    figure = curves([epoch(n) for n in range(1, 6)], best_epoch=9, lr_changes=[7])
    assert not [text for text in texts(figure) if text.startswith(("best epoch", "rate reduced"))]


def test_an_empty_history_is_refused():
    with pytest.raises(ValueError, match="no epoch"):
        curves([])


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


def test_the_callers_style_neither_changes_nor_matters():
    before = dict(matplotlib.rcParams)
    plain = png_bytes(confusion_figure(MATRIX, CLASSES, "t"))
    assert dict(matplotlib.rcParams) == before
    with matplotlib.rc_context({"font.size": 20.0, "text.color": "red"}):
        assert png_bytes(confusion_figure(MATRIX, CLASSES, "t")) == plain
