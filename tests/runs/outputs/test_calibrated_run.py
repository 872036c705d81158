"""A run with enough validation photos leaves a calibration in `best.pth`, and what it does in MLflow and its folder."""

import json

import pytest

from flowerml.evaluation.fit_calibration import calibration_halves, fit_calibration, measure_calibration
from flowerml.evaluation.metrics import join_predictions
from flowerml.evaluation.prediction_table import read_predictions
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


def test_a_run_without_validation_photos_takes_the_calibration_of_others(run, small_run, train_small, tmp_path, caplog):
    """By the photos those held out; a folder without usable predictions is named and left out."""
    folder, unusable = run[0].folder, tmp_path / "gone"
    other = tmp_path / "other"
    other.mkdir()
    text = (folder / "predictions.csv").read_text()
    (other / "predictions.csv").write_text(text.replace("rose", "peony"))
    finished, recorder = train_small(val_split=0, calibration_folders=(folder, unusable, other))
    expected = read_predictions(folder / "predictions.csv").as_predictions()
    calibration = load_checkpoint(finished.folder / "best.pth").calibration
    assert calibration.energies == pytest.approx(load_checkpoint(folder / "best.pth").calibration.energies, abs=1e-4)
    assert calibration.temperature == fit_calibration(expected, scaled=measure_calibration(expected).helps).temperature
    assert calibration.temperature == pytest.approx(
        load_checkpoint(folder / "best.pth").calibration.temperature, rel=1e-3
    )
    assert json.loads((finished.folder / "calibration.json").read_text())["predictions_of_runs"] == [folder.name]
    assert f"{unusable / 'predictions.csv'} can't be read" in caplog.text
    assert f"{other / 'predictions.csv'} is of other classes" in caplog.text
    assert {"calibration.json", "calibration.png"} <= {e.path.name for e in recorder.events if isinstance(e, Artifact)}


def test_few_photos_are_few_however_many_runs_predicted_them(small_run, train_small):
    finished, _ = train_small(val_split=0, calibration_folders=(small_run[0].folder,) * 6)
    assert load_checkpoint(finished.folder / "best.pth").calibration is None


def test_a_photo_of_several_runs_is_in_one_half(run):
    once = read_predictions(run[0].folder / "predictions.csv").as_predictions()
    first = calibration_halves(join_predictions([once, once, once]))
    assert (first.reshape(3, -1) == calibration_halves(once)).all()


def test_predictions_of_an_earlier_version_calibrate_without_energies(run, train_small, tmp_path):
    """Their tables have no energies; the temperature is the same."""
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    rows = (run[0].folder / "predictions.csv").read_text().splitlines()
    (earlier / "predictions.csv").write_text("\n".join(row.rpartition(",")[0] for row in rows))
    finished, _ = train_small(val_split=0, calibration_folders=(earlier,))
    calibration = load_checkpoint(finished.folder / "best.pth").calibration
    assert calibration.energies is None
    assert calibration.temperature == pytest.approx(
        load_checkpoint(run[0].folder / "best.pth").calibration.temperature, rel=1e-3
    )
