"""Predicted ranges: shipped ones, files, verdicts."""

import re

import pytest

from flowerml.campaign.comparison.predictions import (
    PredictedRange,
    RangeVerdict,
    judge_range,
    predictions_for,
    read_predicted_ranges,
)
from flowerml.errors import UserError


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.74, 0.78, (RangeVerdict.MET, "")),
        (0.73, 0.79, (RangeVerdict.MET, "")),
        (0.70, 0.729, (RangeVerdict.MISSED, "below")),
        (0.80, 0.9, (RangeVerdict.MISSED, "above")),
        (0.72, 0.74, (RangeVerdict.OPEN, "")),
        (0.5, 0.9, (RangeVerdict.OPEN, "")),
        (0.78, 0.81, (RangeVerdict.OPEN, "")),
    ],
)
def test_verdict_needs_the_whole_interval_on_one_side(low, high, verdict):
    assert judge_range(PredictedRange(0.73, 0.79), low, high) == verdict


def test_shipped_predictions_of_the_relation_plans():
    found = predictions_for("relations_exp1", "relations_exp2")
    ranges = {(figure, of): (one.low, one.high) for (figure, of), one in found.items()}
    percents = {
        **{
            "on": (88, 90),
            "above": (72, 75),
            "under": (65, 70),
            "next to": (50, 55),
            "below": (30, 40),
            "near": (15, 25),
        },
        **{"left of": (20, 30), "right of": (15, 25), "inside": (10, 20), "outside": (5, 15)},
    }
    wanted = {("recall", name): (low / 100, high / 100) for name, (low, high) in percents.items()}
    wanted |= {
        ("accuracy", ""): (0.73, 0.79),
        ("final_val_accuracy", ""): (0.52, 0.58),
        ("final_val_loss", ""): (1.1, 1.2),
    }
    assert ranges == {**wanted, ("best_epoch", ""): (18, 25), ("minutes_per_epoch", ""): (12, 15)}
    assert "at odds with 73 to 79 %" in found["final_val_accuracy", ""].note
    assert predictions_for("relations_exp2", "relations_exp1") == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("low: 1", "low: 3", "line 4: predicted.accuracy goes from 3 to 2"),
        ("low: 1", "low: one", "line 4: predicted.accuracy.low is 'one'. Allowed: a number"),
        ("accuracy", "acuracy", "'acuracy' is unknown in predicted. Did you mean accuracy?"),
        (", high: 2", "", "predicted.accuracy has no 'high': add it"),
    ],
)
def test_malformed_predictions_are_refused_with_their_line(old, new, message, tmp_path):
    text = "plan: two\nagainst: one\npredicted:\n  accuracy: {low: 1, high: 2}\n"
    assert read_predicted_ranges(_write_yaml(tmp_path, text)) == {("accuracy", ""): PredictedRange(0.01, 0.02)}
    with pytest.raises(UserError, match=re.escape(message)):
        read_predicted_ranges(_write_yaml(tmp_path, text.replace(old, new)))


def _write_yaml(folder, text):
    path = folder / "predicted.yaml"
    path.write_text(text)
    return path
