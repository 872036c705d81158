"""What corruption costs, from predictions: paired differences, what is shown, and the setting that helps."""

from dataclasses import replace

import numpy as np
import pytest
from mlflow.utils.validation import validate_param_and_metric_name

from flowerml.evaluation.corruptions import CORRUPTIONS, VIEWS
from flowerml.evaluation.robustness import (
    describe_weakest,
    format_robustness,
    helpful_setting,
    measure_robustness,
    robustness_markdown,
)
from flowerml.selection.intervals import bootstrap_intervals
from flowerml.settings import resolve
from tests.evaluation.robustness_samples import N, measured, predictions_of

BY_NAME = {corruption.name: corruption for corruption in CORRUPTIONS}


def settings(**changes):
    return resolve({"model": "convnextv2_atto", **changes})[0]


def test_differences_are_paired_by_photo():
    found = measured(noise=(0, 3, 30))
    assert (found.clean_hits, found.total, found.clean_accuracy) == (54, 60, 0.9)
    rows = found.of(BY_NAME["noise"])
    assert [row.hits for row in rows] == [54, 51, 24]
    assert [row.difference for row in rows] == [0.0, -0.05, -0.5]
    assert [row.shown for row in rows] == [False, False, True]
    right = {"clean": np.arange(N) >= 6, "corrupted": np.arange(N) >= 36}
    pair = bootstrap_intervals({name: row[None] for name, row in right.items()}, ("corrupted", "clean"))
    assert rows[2].interval == pair.difference


def test_predictions_in_another_order_are_refused():
    clean = predictions_of(())
    with pytest.raises(ValueError, match="another order"):
        measure_robustness(clean, [replace(clean, ids=clean.ids[::-1])] * len(VIEWS))


def test_weakest_is_the_lowest_mean_of_those_that_are_shown():
    assert measured().weakest is None
    assert measured(blur=(0, 1, 2)).weakest is None
    found = measured(blur=(1, 20, 30), rotation=(18, 18, 18), squeeze=(0, 0, 40))
    assert found.weakest is BY_NAME["rotation"]
    assert found.as_json()["weakest"] == "rotation"
    assert found.mean_accuracy(BY_NAME["rotation"]) == pytest.approx(0.6)


def test_table_page_and_json_say_the_same():
    found = measured(noise=(0, 3, 30))
    lines = format_robustness(found).splitlines()
    assert len(lines) == 2 + len(VIEWS)
    assert lines[1].split()[:3] == ["clean", "60", "0.9000"]
    noisy = [line for line in lines if line.startswith("noise")]
    assert [line.split()[:5] for line in noisy] == [
        ["noise", "8%", "60", "0.9000", "+0.0000"],
        ["noise", "16%", "60", "0.8500", "-0.0500"],
        ["noise", "32%", "60", "0.4000", "-0.5000"],
    ]
    assert [line.endswith("not shown") for line in noisy] == [True, True, False]
    page = robustness_markdown(found, "Robustness of x", ["a remark"])
    assert page.startswith("# Robustness of x\n")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    assert [row[:5] for row in rows if row[0] == "noise"] == [line.split()[:5] for line in noisy]
    assert len({len(row) for row in rows}) == 1
    as_json = found.as_json()["corruptions"]
    assert [one["accuracy"] for one in as_json if one["corruption"] == "noise"] == [0.9, 0.85, 0.4]
    assert [one["strength"] for one in as_json] == [strength for _, strength in VIEWS]


def test_metrics_have_names_that_mlflow_takes():
    metrics = measured(noise=(0, 3, 30)).as_metrics()
    assert len(metrics) == 2 + len(CORRUPTIONS) + len(VIEWS)
    assert (metrics["accuracy_clean"], metrics["accuracy_noise_0.32"], metrics["accuracy_JPEG_7"]) == (0.9, 0.4, 0.9)
    assert metrics["accuracy_noise"] == pytest.approx((0.9 + 0.85 + 0.4) / 3)
    assert metrics["accuracy_corrupted"] == pytest.approx((18 * 0.9 + 0.9 + 0.85 + 0.4) / len(VIEWS))
    assert all(validate_param_and_metric_name(name) for name in metrics)


class TestSettingThatHelps:
    """Named only where there is one, with its value in this training."""

    def test_rotation_and_brightness_are_operations_of_randaugment(self):
        turned = helpful_setting(BY_NAME["rotation"], settings(randaugment=9))
        assert "--randaugment" in turned
        assert "up to 9 degrees" in turned
        assert "up to 27 %" in helpful_setting(BY_NAME["darker"], settings(randaugment=9))
        assert helpful_setting(BY_NAME["rotation"], settings(randaugment=30)) == ""

    def test_not_for_light_where_color_jitter_changes_it(self):
        assert helpful_setting(BY_NAME["darker"], settings(randaugment=9, color_jitter=0.4)) == ""
        assert "--randaugment" in helpful_setting(BY_NAME["rotation"], settings(randaugment=9, color_jitter=0.4))

    def test_not_where_trivialaugment_turns_and_changes_light(self):
        for name in ("rotation", "darker", "brighter"):
            assert helpful_setting(BY_NAME[name], settings(trivialaugment=True)) == ""

    def test_mixup_for_pixels_where_it_is_off(self):
        for name in ("blur", "noise", "JPEG"):
            assert "--mixup" in helpful_setting(BY_NAME[name], settings(mixup=0))
            assert helpful_setting(BY_NAME[name], settings(mixup=0.2)) == ""

    def test_none_for_squeeze_and_for_a_head_alone(self):
        assert helpful_setting(BY_NAME["squeeze"], settings()) == ""
        assert helpful_setting(BY_NAME["rotation"], settings(probe=True)) == ""

    def test_sentences(self):
        (nothing,) = describe_weakest(measured(), settings())
        assert nothing == "No corruption is shown to lower the accuracy on these 60 photos."
        weakest, advice = describe_weakest(measured(rotation=(18, 18, 18)), settings(randaugment=0))
        assert weakest == "Weakest: rotation, mean accuracy 0.6000 over its three strengths (clean 0.9000)."
        assert advice.startswith("Training with a larger --randaugment")
