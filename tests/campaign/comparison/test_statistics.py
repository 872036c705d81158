"""Two campaigns compared: metrics, intervals, verdicts."""

import numpy as np
import pytest

from flowerml.campaign.comparison.predictions import PredictedRange, RangeVerdict
from flowerml.campaign.comparison.statistics import compare_campaigns
from flowerml.evaluation.metrics import wilson_interval
from tests.campaign.comparison.samples import LABELS, ONE, TWO, comparison_data


def test_shares_are_means_over_seeds_with_wilson_intervals():
    found = compare_campaigns(comparison_data(ONE, TWO), {})
    accuracy = found.metric("accuracy").first
    by_seed = tuple(float((one == LABELS).mean()) for one in ONE)
    assert accuracy.by_seed == by_seed
    assert accuracy.value == pytest.approx(np.mean(by_seed))
    assert (accuracy.low, accuracy.high) == wilson_interval(accuracy.value * 84, 84)
    left = next(row for row in found.recalls if row.class_name == "left of")
    assert left.first.value == pytest.approx(np.mean([(one == LABELS)[60:80].mean() for one in ONE]))
    assert left.n == 20


def test_rarest_class_comes_first_and_few_examples_have_no_interval():
    wanted = {("recall", name): PredictedRange(0.1, 0.2) for name in ("inside", "outside")}
    found = compare_campaigns(comparison_data(ONE, TWO), wanted)
    assert [(row.class_name, row.n) for row in found.recalls] == [("inside", 4), ("left of", 20), ("on", 60)]
    assert found.recalls[0].difference.low is None
    assert found.recalls[1].difference.low is not None
    assert [name for name, _ in found.absent_classes] == ["outside"]
    assert found.count_verdicts(RangeVerdict.OPEN) == 1 + (found.recalls[0].verdict is RangeVerdict.OPEN)


def test_mean_recall_has_an_interval_over_classes_with_enough_examples():
    found = compare_campaigns(comparison_data(ONE, TWO), {})
    every, often = found.metric("mean_recall"), found.metric("mean_recall_often")
    assert (every.n, every.first.low, every.difference.low) == (84, None, None)
    recalls = [row.first.value for row in found.recalls]
    assert every.first.value == pytest.approx(np.mean(recalls))
    assert often.first.value == pytest.approx(np.mean(recalls[1:]))
    assert often.n == 80
    assert often.difference.low < often.difference.value < often.difference.high
    enough = compare_campaigns(comparison_data([ONE[0][:80]], [TWO[0][:80]], labels=LABELS[:80]), {})
    assert enough.metric("mean_recall").difference.low is not None
    assert all(row.metric != "mean_recall_often" for row in enough.metrics)


def test_difference_changes_sign_when_the_sides_are_swapped():
    forth, back = (
        compare_campaigns(comparison_data(*sides), {}).metric("accuracy").difference
        for sides in ((ONE, TWO), (TWO, ONE))
    )
    assert forth.value == pytest.approx(-back.value)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low), abs=0.02)
    assert (forth.sign, back.sign) == (1, -1)


def test_equal_sides_have_an_interval_around_zero():
    found = compare_campaigns(comparison_data(ONE, ONE), {})
    for row in (found.metric("accuracy"), *found.recalls[1:]):
        assert row.difference.value == 0
        assert row.difference.low < 0 < row.difference.high
        assert row.difference.sign == 0


def test_examples_of_one_picture_are_resampled_together():
    """Each example four times over: as four of one picture no surer than one, as four pictures twice as sure."""
    labels = np.repeat(LABELS, 4)
    sides = [[np.repeat(one, 4) for one in each] for each in (ONE, TWO)]
    pictures = [f"{index}.jpg" for index in np.repeat(np.arange(len(LABELS)), 4)]

    def width(found):
        difference = found.metric("accuracy").difference
        return difference.high - difference.low

    once = width(compare_campaigns(comparison_data(ONE, TWO), {}))
    together = width(compare_campaigns(comparison_data(*sides, pictures=pictures, labels=labels), {}))
    apart = width(compare_campaigns(comparison_data(*sides, labels=labels), {}))
    assert together == pytest.approx(once, rel=0.1)
    assert apart == pytest.approx(once / 2, rel=0.15)


def test_training_metrics_have_the_range_over_seeds_and_a_verdict():
    wanted = {
        ("best_epoch", ""): PredictedRange(18, 25, 12),
        ("final_val_loss", ""): PredictedRange(0.1, 0.2),
        ("minutes_per_epoch", ""): PredictedRange(0, 1),
    }
    found = compare_campaigns(comparison_data(ONE, TWO), wanted)
    assert (found.metric("best_epoch").second.low, found.metric("best_epoch").second.high) == (4, 4)
    assert (found.metric("best_epoch").verdict, found.metric("best_epoch").side) == (RangeVerdict.MISSED, "below")
    assert found.metric("final_val_loss").verdict is RangeVerdict.MET
    assert found.metric("minutes_per_epoch").second.value == pytest.approx(120 / 60 / 6)
    assert found.metric("final_val_accuracy").first.value == pytest.approx(0.56)
    assert found.metric("gap_accuracy").n is None
    assert all(row.metric != "gap_loss" for row in found.metrics), "no run has it"
