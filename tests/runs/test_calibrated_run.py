"""A run with enough validation photos leaves a calibration in `best.pth`, and what it does in MLflow and its folder."""

import json

import pytest

from flowerml.events import Artifact, MemoryRecorder, Metrics
from flowerml.runs.evaluate import Request, run_evaluation
from flowerml.training.checkpoints.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def run(train_small):
    return train_small(val_split=0.85)


def test_what_is_stored_is_what_is_said(run):
    finished, recorder = run
    checkpoint = load_checkpoint(finished.folder / "best.pth")
    assert checkpoint.calibration is not None
    assert len(checkpoint.calibration.scores) == finished.scores.total >= 50
    metrics = {
        name: value for event in recorder.events if isinstance(event, Metrics) for name, value in event.values.items()
    }
    assert metrics["calibration_temperature"] == checkpoint.calibration.temperature
    helps = metrics["calibration_loss_after"] < metrics["calibration_loss_before"]
    assert helps == (metrics["calibration_temperature"] != 1)
    assert metrics["calibration_loss_before"] == pytest.approx(finished.scores.loss)
    content = json.loads((finished.folder / "calibration.json").read_text())
    assert content["temperature"] == checkpoint.calibration.temperature
    names = {event.path.name for event in recorder.events if isinstance(event, Artifact)}
    assert {"calibration.json", "calibration.png"} <= names


def test_probe_and_evaluation_are_those_of_the_logits(run):
    """The temperature changes probabilities alone: what eval repeats, and what an export is checked against, stay."""
    finished, _ = run
    evaluation = run_evaluation(
        Request(finished.folder / "best.pth", "val", device="cpu", workers=0), lambda *_: MemoryRecorder()
    )
    assert evaluation.scores.as_json() == finished.scores.as_json()


def test_other_photos_are_judged_with_the_stored_calibration(run, flowers):
    finished, _ = run
    recorder = MemoryRecorder()
    request = Request(finished.folder / "best.pth", "val", test_dir=flowers, device="cpu", workers=0)
    evaluation = run_evaluation(request, lambda *_: recorder)
    metrics = {}
    for event in recorder.events:
        metrics |= event.values if isinstance(event, Metrics) else {}
    assert {f"test_{name}": value for name, value in evaluation.calibrated.items()}.items() <= metrics.items()
    assert metrics["test_calibrated_loss"] <= evaluation.scores.loss + 1e-9  # temperature 1 where none helped
    assert 0.9 < metrics["test_set_coverage"] <= 1
    assert 1 <= metrics["test_set_size"] <= 5


def test_few_photos_leave_none(small_run):
    finished, _ = small_run
    assert load_checkpoint(finished.folder / "best.pth").calibration is None
    assert not (finished.folder / "calibration.json").exists()
