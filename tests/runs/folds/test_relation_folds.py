"""A cross-validation of relations: pairs of one picture in one fold, mean recall first, chosen by it over folds."""

import io
import json
import shutil
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from flowerml.cli.main import main
from flowerml.data.relations.folder import parse_pair_id
from flowerml.data.splits.split import Split
from flowerml.evaluation.metrics import compute_metrics
from flowerml.evaluation.prediction_table import read_predictions
from flowerml.runs.folds.out_of_fold import read_cross_validation
from tests.runs.loading.test_pairs_run import PAIRS
from tests.sweep.commands import runs_of

pytestmark = pytest.mark.slow

FOLDS = 2


def train(scenes, place, name, **changes):
    """`flowerml train --folds`; returns (what it prints as JSON, its log)."""
    given = {**PAIRS, "epochs": 2, "train_dir": scenes, "runs_root": place, "output_dir": place / name, **changes}
    words = [f"--{key.replace('_', '-')}={value}" for key, value in given.items()]
    printed, log = io.StringIO(), io.StringIO()
    with redirect_stdout(printed), redirect_stderr(log):
        assert main(["train", *words, f"--folds={FOLDS}", "--json"]) == 0, log.getvalue()
    return json.loads(printed.getvalue()), log.getvalue()


@pytest.fixture(scope="module")
def made(scenes, empty_store, tmp_path_factory):
    """(folder, what was printed, log) of a cross-validation, in a store beside it."""
    place = tmp_path_factory.mktemp("folds")
    shutil.copy(empty_store, place / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place / 'mlflow.db'}")
        patch.setenv("FLOWERML_CACHE_DIR", str(place / "cache"))
        return place / "cv", *train(scenes, place, "cv")


@pytest.fixture
def trained(made, tmp_path):
    """The same, with a copy of its store as the current one."""
    shutil.copy(made[0].parent / "mlflow.db", tmp_path / "mlflow.db")
    return made


def test_every_pair_is_judged_by_the_run_that_saw_nothing_of_its_picture(trained):
    folder, _, log = trained
    splits = [Split.from_json(json.loads((folder / f"fold{fold}" / "split.json").read_text())) for fold in (1, 2)]
    images = [[{parse_pair_id(name)[0] for name in side} for side in (split.train, split.val)] for split in splits]
    assert all(not train & val for train, val in images)
    assert images[0][0] == images[1][1]
    assert sorted([*splits[0].val, *splits[1].val]) == sorted(splits[0].sha256)
    assert log.count("images on both sides: 0") == FOLDS
    found = read_cross_validation(folder)
    assert len(found.predictions.ids) == 100
    for fold in (1, 2):
        table = read_predictions(folder / f"fold{fold}" / "predictions.csv")
        rows = [found.predictions.ids.index(name) for name in table.images]
        np.testing.assert_allclose(found.predictions.probabilities[rows], table.probabilities, atol=1e-6)
    assert "features of" in log
    assert log.count("are there from an earlier run") == FOLDS - 1, "the backbone has seen the pictures once"


def test_results_have_the_mean_recall_first_and_no_page_of_pictures_to_look_at(trained):
    folder, printed, log = trained
    scores = compute_metrics(read_cross_validation(folder).predictions)
    assert printed["out_of_fold"]["mean_recall"] == scores.mean_recall
    assert printed["likely_wrong_labels"] is None
    assert [row["mean_recall"] for row in printed["runs"]] == [
        compute_metrics(read_predictions(folder / f"fold{fold}" / "predictions.csv").as_predictions()).mean_recall
        for fold in (1, 2)
    ]
    assert "fold   mean recall  accuracy" in log
    assert f"every pair, out of fold:\nmean recall         {scores.mean_recall:.4f}\n" in log
    assert "no page says what to look at next: several relations may hold" in log
    names = {path.name for path in folder.iterdir() if path.is_file()}
    assert names == {
        *("folds.json", "predictions.csv", "per_class.json", "errors.html"),
        *("confusion_matrix.json", "confusion_matrix.png"),
    }
    (own,) = runs_of("folds")
    assert MlflowClient().get_experiment(own.info.experiment_id).name == "relations"
    assert own.data.metrics["out_of_fold_mean_recall"] == scores.mean_recall
    assert "likely_wrong_labels" not in own.data.metrics
    assert own.data.tags["flowerml.family"] == "relation"


def test_select_ranks_by_the_mean_recall_over_the_folds(trained, scenes, tmp_path, capsys):
    _, first, _ = trained
    second, _ = train(scenes, tmp_path, "other", lr_head=1e-5, epochs=1)
    words = ["select", "--family", "relation", "--by", "val_mean_recall", "--seeds", "11", "--no-record", "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    expected = [np.mean([row["mean_recall"] for row in one["runs"]]) for one in (first, second)]
    assert len(found["ranking"]) == 2
    assert [row["mean_recall"]["mean"] for row in found["ranking"]] == pytest.approx(sorted(expected, reverse=True))


def test_what_is_for_whole_pictures_refuses_it_in_one_line(trained, flowers, capsys):
    folder, _, _ = trained
    for words in (
        ["check", "--train-dir", str(flowers), "--folds", str(folder)],
        ["next", "--photos", str(flowers), "--folds", str(folder)],
    ):
        assert main(["dataset", *words]) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert "whose labels are not doubted (several relations may hold for a pair). Allowed: those of whole" in last


def test_too_many_folds_for_a_relation_are_refused(scenes, tmp_path, capsys):
    words = [f"--{key.replace('_', '-')}={value}" for key, value in PAIRS.items()]
    assert main(["train", *words, f"--train-dir={scenes}", f"--output-dir={tmp_path / 'cv'}", "--folds=20"]) == 2
    assert "--folds 20: relation " in (err := capsys.readouterr().err.splitlines()[-1])
    assert "take fewer folds" in err
