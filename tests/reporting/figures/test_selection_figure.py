"""The figure of a selection: its texts, dots and intervals, not its pixels."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from flowerml.reporting.figures.drawing import png_bytes
from flowerml.reporting.figures.selection_figure import MAX_ROWS, selection_figure
from flowerml.selection.decision import Decision
from flowerml.selection.records import Scope
from tests.reporting.figures.figure_samples import texts
from tests.selection.samples import decide, judged, run

SEEDS = (11, 23, 47)


def decision(configurations: int, seeds: tuple[int, ...] = SEEDS, *, pictures: int = 2, **other: str) -> Decision:
    """Each configuration one hit of 100 worse than the one before; per-picture results of the first `pictures`."""
    runs, results = [], {}
    for place in range(configurations):
        for seed in seeds:
            hits = 95 - place % 40 + seed % 3
            one, result = judged(f"{place:08d}", seed, np.arange(100) < hits, **other)
            runs.append(one)
            if place < pictures:
                results[one.run_id] = result
    return decide(runs, Scope(seeds=seeds, family="cnn"), results, resamples=200)


def dots(figure: Figure) -> list[tuple[float, float]]:
    found = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    return [(round(float(line.get_xdata()[0]), 6), round(float(line.get_ydata()[0]))) for line in found]


def test_every_seed_is_a_dot_in_its_configurations_row():
    figure = selection_figure(decision(2))
    assert dots(figure) == [(97.0, 0), (97.0, 0), (97.0, 0), (96.0, 1), (96.0, 1), (96.0, 1)]
    rows = [line.get_ydata()[0] for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert len(set(rows)) == 6, "equal seeds do not hide each other"


def test_intervals_are_drawn_as_they_are():
    made = decision(3)
    bars = [line for line in selection_figure(made).axes[0].lines if line.get_linewidth() > 5]
    drawn = [tuple(line.get_xdata()) for line in bars]
    ends = [one.interval for one in made.standings if one.interval is not None]
    assert drawn == [(100 * interval.low, 100 * interval.high) for interval in ends]


def test_ranks_means_and_p_best_are_written():
    made = decision(3)
    shown = texts(selection_figure(made))
    for text in ("1", "2", "3", "mean", "P(best)", "97.00%", "96.00%", "95.00%", "–", "00000000", "00000001", "net"):
        assert text in shown, text
    assert "Selection: cnn, split split-on" in shown
    assert "3 configurations, validation accuracy on 100 pictures, seeds 11, 23, 47" in shown
    assert [text for text in shown if text.startswith("seed ")] == ["seed 11", "seed 23", "seed 47"]


def test_without_pictures_there_is_no_p_best_and_the_interval_is_over_seeds():
    runs = [
        run(config, seed, hits)
        for config, place in (("a", 0), ("b", 3))
        for seed, hits in zip(SEEDS, (90, 92 - place, 94), strict=True)
    ]
    shown = texts(selection_figure(decide(runs, Scope(seeds=SEEDS))))
    assert "P(best)" not in shown
    assert "95% interval of the mean, over seeds alone" in shown


def test_one_seed_has_no_mean_mark():
    shown = texts(selection_figure(decision(2, (11,))))
    assert "validation accuracy on 100 pictures, seed 11" in " ".join(shown)
    assert "95% interval of the mean, over pictures" in shown
    assert shown.count("mean") == 1, "the column's head, no entry of the legend"


@pytest.mark.parametrize("configurations", [1, 2, 6, 20, 40])
def test_any_number_of_configurations_fits(configurations):
    """All texts lie on the figure, and none of the rows' names meets the field."""
    figure = selection_figure(decision(configurations, model="timm:a_model_with_quite_a_long_name_indeed"))
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    field = figure.axes[0].get_window_extent()
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text():
            box = text.get_window_extent()
            assert box.x0 >= 0, text
            assert box.x1 <= width, text
            assert box.y0 >= 0, text
            assert box.y1 <= height, text
            if text.get_text().startswith("timm:"):
                assert box.x1 < field.x0
    if configurations > MAX_ROWS:
        assert f"the first {MAX_ROWS} of {configurations} configurations" in " ".join(texts(figure))


def test_a_perfect_score_stays_within_100_percent():
    one, result = judged("a", 11, np.ones(50, dtype=bool))
    low, high = selection_figure(decide([one], Scope(seeds=(11,)), {one.run_id: result})).axes[0].get_xlim()
    assert high == 100
    assert low < 95


def test_png_is_reproducible():
    made = decision(2)
    first, second = (png_bytes(selection_figure(made)) for _ in range(2))
    assert first == second
    assert Image.open(io.BytesIO(first)).width == 1235


def test_no_eligible_configuration_is_refused():
    with pytest.raises(ValueError, match="no configuration"):
        selection_figure(decide([run("a", 11)], Scope(seeds=SEEDS)))
