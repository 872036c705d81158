"""The model card: the hub's form, figures from the run, and names of users that change no markup."""

from dataclasses import replace

import numpy as np
import pytest
from huggingface_hub import ModelCard

from flowerml.delivery.manifest import manifest_entry
from flowerml.delivery.model_card import model_card
from flowerml.delivery.robustness_result import RobustnessResult
from flowerml.evaluation.calibration import Calibration
from flowerml.evaluation.metrics import wilson_interval
from flowerml.evaluation.prediction_table import PredictionTable
from flowerml.prediction.delivered import for_delivery
from flowerml.training.checkpoints.checkpoint import save_checkpoint
from tests.tracking.finished_runs import CLASSES, LOCAL, trained


@pytest.fixture
def entry_of(tmp_path):
    """A function: the manifest entry and the settings of a delivered model."""

    def make(family="cnn", **changes):
        checkpoint = for_delivery(replace(trained(family), **changes))
        path = tmp_path / f"{family}_flowers.pth"
        save_checkpoint(path, checkpoint)
        return manifest_entry(path, "0" * 64, checkpoint, {"run_id": "abc"}, "fp32"), checkpoint.settings

    return make


def table(right: int, total: int) -> PredictionTable:
    """Predictions of `total` photos of the first class, `right` of which are right."""
    shares = np.full((total, len(CLASSES)), 0.1)
    shares[:right, 0] = shares[right:, 1] = 0.6
    ids = tuple(f"daisy/{index}.jpg" for index in range(total))
    return PredictionTable(ids, tuple(CLASSES), np.zeros(total, int), shares)


def test_it_is_a_card_of_the_hub_with_the_figures_of_the_run(entry_of):
    entry, settings = entry_of()
    text = model_card({"cnn_flowers.pth": entry}, {"cnn_flowers.pth": settings}, {"cnn_flowers.pth": table(45, 50)})
    card = ModelCard(text)
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.eval_results[0].metric_value == entry["metrics"]["val_accuracy"]
    low, high = wilson_interval(45, 50)
    assert f"**0.9000** (45 of 50; 95 % interval {low:.4f} to {high:.4f})" in text
    assert f"| daisy | 0.9000 | {low:.4f} to {high:.4f} | 50 |" in text
    assert LOCAL not in text


def test_published_weights_keep_their_licence(entry_of):
    """ConvNeXt V2's weights are not for commercial use: whoever gets the file has to read it."""
    entry, settings = entry_of()
    assert entry["model"] == "convnextv2_atto"

    def card(**files):
        return model_card(
            dict.fromkeys(files, entry), {name: {**settings, "weights": w} for name, w in files.items()}, {}
        )

    assert ModelCard(card(a="hub")).data.license == "cc-by-nc-4.0"
    assert "| started from | the published weights of the architecture; their licence: cc-by-nc-4.0 |" in card(a="hub")
    assert ModelCard(card(a="hub", b="none")).data.license == "other"
    assert "| started from | random weights |" in card(a="none")
    assert "| started from | the file start.safetensors; their licence: not known here, look it up |" in card(
        a="start.safetensors"
    )


def test_settings_of_the_recipe_that_are_off_by_default_stand_in_it_where_they_are_on(entry_of):
    entry, settings = entry_of()
    text = model_card({"a.pth": entry}, {"a.pth": settings}, {}).replace("\\", "")
    assert "freeze_backbone_epochs" in text
    assert not any(name in text for name in ("crop_scale", "trivialaugment", "sam_rho"))
    changed = {**settings, "crop_scale": 0.35, "trivialaugment": True, "sam_rho": 0.05}
    text = model_card({"a.pth": entry}, {"a.pth": changed}, {}).replace("\\", "")
    [line] = [line for line in text.splitlines() if line.startswith("| trained with")]
    assert line.endswith(", trivialaugment True, sam_rho 0.05 |")
    assert "crop_scale" not in line


def test_names_of_users_change_no_markup(entry_of):
    entry, settings = entry_of(classes=("a|b", "<b>c</b>", "*d*", "e\nf", "[g](h)"))
    text = model_card({"cnn_flowers.pth": entry}, {"cnn_flowers.pth": settings}, {})
    (line,) = (line for line in text.splitlines() if line.startswith("| classes"))
    assert line == r"| classes | a\|b, \<b>c\</b>, \*d\*, e f, \[g\](h) |"


def test_a_model_without_validation_photos_claims_no_accuracy(entry_of):
    entry, settings = entry_of(metrics={})
    text = model_card({"cnn_flowers.pth": entry}, {"cnn_flowers.pth": settings}, {})
    assert "has no accuracy" in text
    assert ModelCard(text).data.eval_results is None


def test_it_says_whether_probabilities_are_calibrated(entry_of):
    calibrated = Calibration(0.625, np.zeros(50, np.float32))
    for changes, words in (({}, "softmax, not calibrated"), ({"calibration": calibrated}, "temperature 0.625")):
        entry, settings = entry_of(**changes)
        assert words in model_card({"cnn_flowers.pth": entry}, {"cnn_flowers.pth": settings}, {})


def test_a_thousand_classes_make_no_longer_card(entry_of):
    """The worst twenty stand in it, and forty names."""
    entry, settings = entry_of()
    names = tuple(f"class{index:04d}" for index in range(1000))
    shares = np.zeros((2000, 1000))
    labels = np.repeat(np.arange(1000), 2)
    answers = np.where(labels < 5, 999, labels)  # the first five are never found
    shares[np.arange(2000), answers] = 1.0
    predictions = PredictionTable(tuple(map(str, range(2000))), names, labels, shares)
    text = model_card(
        {"cnn_flowers.pth": {**entry, "classes": list(names)}}, {"a": settings}, {"cnn_flowers.pth": predictions}
    )
    assert "class0039 and 960 more: all are in MANIFEST.json" in text
    assert "The 20 classes with the lowest recall, of 1,000" in text
    assert sum(line.startswith("| class0") for line in text.splitlines()) == 20
    assert sum("| 0.0000 |" in line for line in text.splitlines()) == 5


def test_robustness_stands_in_it_where_it_was_measured(entry_of):
    entry, settings = entry_of()
    corrupted = {"blur": (("0.5 %", 0.8), ("1 %", 0.75)), "a|b": (("3", 0.5),)}
    result = RobustnessResult("best.pth", "the photos of <x>", 1200, 0.9, corrupted, "a|b")
    text = model_card({"a.pth": entry, "b.pth": entry}, {"a.pth": settings}, {}, {"a.pth": result})
    of_a, of_b = text.split("## b.pth")
    assert "| none | | 0.9000 | 1,200 |" in of_a
    assert "| blur | 0.5 %, 1 % | 0.8000, 0.7500 | 1,200 |" in of_a
    assert r"| a\|b | 3 | 0.5000 | 1,200 |" in of_a
    assert r"with best.pth on the photos of \<x>, each corrupted" in of_a
    assert r"Weakest: a\|b." in of_a
    assert "was not measured: `flowerml robustness RUN --output-dir RUN/robustness`" not in of_a
    assert "was not measured: `flowerml robustness RUN --output-dir RUN/robustness`" in of_b
    assert "| none |" not in of_b
    ModelCard(text)
