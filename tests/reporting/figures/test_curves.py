"""The figure of a training run: its texts, scales and lines, not its pixels."""

import math

import pytest

from flowerml.reporting.figures.drawing import png_bytes
from tests.reporting.figures.figure_samples import curves, epoch, texts


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


def test_history_without_positive_rates():
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


def test_headline_score_is_drawn_first():
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


def test_sparse_validation_is_joined_and_has_markers():
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
def test_labels_of_marks_do_not_overlap(best):
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
