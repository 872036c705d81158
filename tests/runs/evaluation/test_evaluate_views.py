"""Evaluating with test-time views: compared with none, in a folder of its own, and what a calibration counts for."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from flowerml.cli.commands.experiments import eval as eval_command
from flowerml.errors import UserError
from flowerml.evaluation.paired_gain import paired_gain
from flowerml.evaluation.prediction_table import read_predictions
from flowerml.evaluation.tta import FLIP, FLIP_SCALES, NO_VIEWS
from flowerml.events import MemoryRecorder, Metrics
from flowerml.prediction import load_predictor, predict_proba
from flowerml.runs.evaluate import Request, run_evaluation
from flowerml.runs.lifecycle.run_file import EVALUATIONS
from flowerml.selection.intervals import bootstrap_intervals
from flowerml.training.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from tests.tracking.finished_runs import trained


@pytest.fixture(scope="module")
def run(train_small):
    """A run with a calibration."""
    return train_small(val_split=0.85)[0]


@pytest.fixture
def folder(run, tmp_path):
    return shutil.copytree(run.folder, tmp_path / "run")


def evaluate(path, tta=None, recorder=None, **more):
    request = Request(path, more.pop("split", "val"), workers=0, device="cpu", tta=tta, **more)
    return run_evaluation(request, lambda *_: recorder or MemoryRecorder())


@pytest.mark.slow
@pytest.mark.parametrize("tta", [FLIP, FLIP_SCALES])
def test_scores_are_those_of_the_views_and_the_comparison_starts_from_training_s_own(run, folder, flowers, tta):
    recorder = MemoryRecorder()
    evaluation = evaluate(folder / "best.pth", tta, recorder)
    assert evaluation.gain.before == run.scores.accuracy
    assert evaluation.gain.after == evaluation.scores.accuracy
    assert evaluation.scores.loss != run.scores.loss
    assert not (folder / "eval_val").exists()
    assert f"eval_val_{tta}" in EVALUATIONS, "what --overwrite replaces"
    table = read_predictions(folder / f"eval_val_{tta}" / "predictions.csv")
    plain = read_predictions(run.folder / "predictions.csv")
    assert table.images == plain.images
    model = load_predictor(folder / "best.pth")
    model.tta = tta
    found = predict_proba(model, [flowers / image for image in table.images], calibrated=False)
    assert np.allclose(table.probabilities, found, atol=1e-4)
    right = {"a": (plain.predicted == plain.labels)[None], "b": (table.predicted == table.labels)[None]}
    assert evaluation.gain.interval == bootstrap_intervals(right, ("b", "a")).difference
    assert recorder.tags()["flowerml.tta"] == tta
    metrics = {
        key: value for event in recorder.events if isinstance(event, Metrics) for key, value in event.values.items()
    }
    assert metrics["val_tta_gain"] == evaluation.gain.gain
    assert metrics["val_accuracy"] == evaluation.scores.accuracy


def test_without_views_nothing_is_compared_and_the_files_own_are_the_default(run, folder):
    assert evaluate(folder / "best.pth").gain is None
    assert evaluate(folder / "best.pth", NO_VIEWS).gain is None
    assert (folder / "eval_val" / "predictions.csv").read_bytes() == (run.folder / "predictions.csv").read_bytes()
    save_checkpoint(folder / "best.pth", replace(load_checkpoint(folder / "best.pth"), tta=FLIP))
    evaluation = evaluate(folder / "best.pth")
    assert (evaluation.tta, evaluation.gain.before) == (FLIP, run.scores.accuracy)
    assert evaluate(folder / "best.pth", NO_VIEWS).scores.loss == run.scores.loss


def test_a_calibration_is_judged_with_the_views_that_it_was_fitted_with(folder, flowers, capsys):
    best = folder / "best.pth"
    assert evaluate(best, test_dir=flowers).calibrated
    assert evaluate(best, FLIP, test_dir=flowers).calibrated == {}
    assert "its calibration was fitted with --tta none and is not judged with flip" in capsys.readouterr().err
    save_checkpoint(best, replace(load_checkpoint(best), tta=FLIP))
    assert evaluate(best, test_dir=flowers).calibrated


def test_views_and_logit_adjustment_go_together(folder):
    evaluation = evaluate(folder / "best.pth", FLIP, logit_adjustment=1.0)
    assert evaluation.gain is not None
    assert (folder / "eval_val_adjusted_flip" / "predictions.csv").is_file()


def test_for_relations_there_are_none(tmp_path):
    save_checkpoint(tmp_path / "best.pth", trained("relation"))
    with pytest.raises(UserError) as raised:
        evaluate(tmp_path / "best.pth", FLIP)
    assert str(raised.value) == (
        "--tta flip is not available for relations: the mirror image of a picture swaps left and right. Leave it out"
    )


def test_the_command_prints_the_gain(folder, capsys, monkeypatch):
    recorder = MemoryRecorder()
    monkeypatch.setattr("flowerml.tracking.start_child_run", lambda *_: recorder)
    words = ["--checkpoint", str(folder / "best.pth"), "--tta", FLIP, "--device", "cpu", "--workers", "0"]
    assert eval_command.run(words) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("views flip: gain ")
    assert "95 % interval" in last
    assert eval_command.run([*words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["tta"]
    assert result["views"] == FLIP
    assert result["accuracy_after"] - result["accuracy_before"] == pytest.approx(result["gain"])


def test_a_gain_is_shown_where_its_interval_leaves_out_zero():
    before = np.arange(400) % 2 == 0
    equal, better = paired_gain(before, before), paired_gain(before, before | (np.arange(400) % 10 == 1))
    assert (equal.gain, equal.shown) == (0.0, False)
    assert equal.line("views flip").endswith(": not shown)")
    assert better.gain == pytest.approx(0.1)
    assert better.shown
    assert "not shown" not in better.line("views flip")
    worse = paired_gain(np.ones(400, dtype=bool), before)
    assert worse.gain == pytest.approx(-0.5)
    assert worse.shown
