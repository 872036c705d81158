"""The figure of a robustness measurement: its panels, dots and intervals, not its pixels."""

import pytest
from matplotlib.colors import to_hex

from flowerml.evaluation.corruptions import CORRUPTIONS
from flowerml.reporting.figures.drawing import png_bytes
from flowerml.reporting.figures.robustness_figure import robustness_figure
from tests.evaluation.robustness_samples import measured
from tests.reporting.figures.figure_samples import texts


@pytest.fixture(scope="module")
def made():
    return measured(noise=(0, 3, 30), rotation=(1, 10, 20))


def test_a_panel_for_each_corruption_with_a_dot_for_each_strength(made):
    figure = robustness_figure(made, "Robustness of m")
    assert [axes.get_title(loc="left") for axes in figure.axes] == [one.name for one in CORRUPTIONS]
    for axes, corruption in zip(figure.axes, CORRUPTIONS, strict=True):
        dots = [line for line in axes.lines if line.get_marker() == "o"]
        rows = made.of(corruption)
        assert [line.get_ydata()[0] for line in dots] == [row.accuracy for row in rows]
        assert [to_hex(line.get_color()) != "#ffffff" for line in dots] == [row.shown for row in rows]
        assert [tick.get_text() for tick in axes.get_xticklabels()] == [corruption.label(row.strength) for row in rows]
        low, high = axes.get_ylim()
        assert all(low <= made.clean_accuracy + row.interval.low for row in rows)
        assert high >= 1


def test_title_and_clean_accuracy_are_written(made):
    shown = " ".join(texts(robustness_figure(made, "Robustness of m")))
    assert "Robustness of m" in shown
    assert "60 photos" in shown
    assert "clean (90.0%)" in shown


def test_the_same_measurement_gives_the_same_file(made):
    assert png_bytes(robustness_figure(made, "m")) == png_bytes(robustness_figure(made, "m"))
