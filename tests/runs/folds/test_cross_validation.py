"""A cross-validation: every picture judged by the run that did not see it; repeated, it trains nothing again."""

import csv
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from flowerml.cli.main import main
from flowerml.data.splits.split import Split
from flowerml.errors import UserError
from flowerml.evaluation.prediction_table import read_predictions
from flowerml.events import MemoryRecorder, Metrics, Tags
from flowerml.prediction import load_cnn_model, predict_proba
from flowerml.runs.folds.out_of_fold import FILE, read_cross_validation
from flowerml.runs.folds.results import PAGE, TABLE, write_results
from flowerml.runs.folds.train import train_folds
from flowerml.runs.train import run_training
from flowerml.settings import resolve
from tests.runs.conftest import SMALL

pytestmark = pytest.mark.slow

FOLDS = 3


def settings_of(flowers, **changes):
    return resolve({**SMALL, "train_dir": str(flowers), "folds": str(FOLDS), "epochs": 2, **changes})[0]


@pytest.fixture(scope="module")
def trained(flowers, tmp_path_factory):
    """The folder of a small cross-validation, and the recorders of its runs."""
    folder, recorders = tmp_path_factory.mktemp("folds") / "cv", []

    def open_recorder(*_):
        recorders.append(MemoryRecorder(f"run-{len(recorders)}"))
        return recorders[-1]

    assert train_folds(settings_of(flowers, output_dir=str(folder)), open_recorder) == folder
    return folder, recorders


def tags_of(recorder):
    return {name: text for event in recorder.events if isinstance(event, Tags) for name, text in event.values.items()}


def test_each_fold_gets_the_labels_and_is_told_of_before_it_starts(flowers, tmp_path, monkeypatch):
    given = []

    def run_training(settings, open_recorder, **options):
        given.append((settings.fold, options))
        return SimpleNamespace(folder=tmp_path / "cv" / f"fold{settings.fold}")

    monkeypatch.setattr("flowerml.runs.folds.train.run_training", run_training)
    options = {"labels": {"flowerml.like": "x"}, "on_prepared": print}
    train_folds(settings_of(flowers, output_dir=str(tmp_path / "cv")), None, **options)
    assert given == [(fold, options) for fold in range(1, FOLDS + 1)]


def test_each_run_holds_out_its_fold_and_every_picture_is_judged_once(trained):
    folder, recorders = trained
    assert len(recorders) == FOLDS
    images = [read_predictions(folder / f"fold{fold}" / "predictions.csv").images for fold in (1, 2, 3)]
    found = read_cross_validation(folder)
    assert sorted(name for names in images for name in names) == list(found.predictions.ids)
    assert len(found.predictions.ids) == 60
    for fold, names in enumerate(images, start=1):
        assert set(Split.from_json(json.loads((folder / f"fold{fold}" / "split.json").read_text())).val) == set(names)


def test_out_of_fold_predictions_are_those_of_the_runs(trained):
    folder, _ = trained
    together = read_cross_validation(folder).predictions
    row_of = {name: row for row, name in enumerate(together.ids)}
    for fold in (1, 2, 3):
        table = read_predictions(folder / f"fold{fold}" / "predictions.csv")
        rows = [row_of[name] for name in table.images]
        np.testing.assert_allclose(together.probabilities[rows], table.probabilities, atol=1e-6)
        assert together.labels[rows].tolist() == table.labels.tolist()


def test_the_runs_share_the_ids_a_selection_groups_by_and_differ_in_their_own(trained):
    folder, recorders = trained
    tags = [tags_of(recorder) for recorder in recorders]
    assert [one["flowerml.fold"] for one in tags] == ["1", "2", "3"]
    for shared in ("config_id", "split_digest", "data_digest", "folds", "seed"):
        assert len({one[f"flowerml.{shared}"] for one in tags}) == 1
    own = {json.loads((folder / f"fold{fold}" / "settings.json").read_text())["config_id"] for fold in (1, 2, 3)}
    assert len(own) == FOLDS  # so that no fold goes on from another's checkpoint


def test_a_run_without_folds_has_one_id_for_both(small_run):
    run, recorder = small_run
    tags = tags_of(recorder)
    assert tags["flowerml.config_id"] == json.loads((run.folder / "settings.json").read_text())["config_id"]
    assert "flowerml.fold" not in tags


def test_repeated_it_trains_no_fold_again(trained, flowers):
    folder, _ = trained
    before = [(folder / f"fold{fold}" / "best.pth").stat().st_mtime_ns for fold in (1, 2, 3)]

    def refuse(*_):
        raise AssertionError("a run was started")

    assert train_folds(settings_of(flowers, output_dir=str(folder)), refuse) == folder
    assert [(folder / f"fold{fold}" / "best.pth").stat().st_mtime_ns for fold in (1, 2, 3)] == before


def test_interrupted_it_goes_on_and_ends_with_the_same_weights(trained, flowers, tmp_path):
    whole, _ = trained
    folder = tmp_path / "cv"
    shutil.copytree(whole / "fold1", folder / "fold1")
    opened = []

    def open_recorder(*_):
        opened.append(MemoryRecorder(f"again-{len(opened)}"))
        return opened[-1]

    train_folds(settings_of(flowers, output_dir=str(folder)), open_recorder)
    assert len(opened) == FOLDS - 1
    for fold in (2, 3):
        one, other = (read_predictions(root / f"fold{fold}" / "predictions.csv") for root in (whole, folder))
        np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_one_fold_alone_is_the_same_run(trained, flowers, tmp_path):
    """`--fold 2` on another machine: what it predicts is what the whole command's second run predicts."""
    folder, _ = trained
    alone = run_training(
        settings_of(flowers, fold="2", output_dir=str(tmp_path / "alone")), lambda *_: MemoryRecorder()
    )
    one = read_predictions(folder / "fold2" / "predictions.csv")
    other = read_predictions(alone.folder / "predictions.csv")
    np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_other_settings_in_its_folder_are_refused(trained, flowers):
    folder, _ = trained
    with pytest.raises(UserError, match=r"holds a run of other settings .*epochs 2 there, 1 here"):
        train_folds(settings_of(flowers, output_dir=str(folder), epochs=1), lambda *_: MemoryRecorder())


def test_another_folds_run_in_a_folds_folder_is_refused(trained, tmp_path):
    folder, _ = trained
    wrong = tmp_path / "cv"
    shutil.copytree(folder, wrong)
    shutil.rmtree(wrong / "fold2")
    shutil.copytree(folder / "fold3", wrong / "fold2")
    with pytest.raises(UserError, match="fold2: its run held out fold 3 of 3, not fold 2"):
        read_cross_validation(wrong)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (shutil.rmtree, "no cross-validation"),
        (lambda cv: shutil.rmtree(cv / "fold2"), "no run in fold2; it has fold1, fold3"),
        (lambda cv: (cv / "fold2" / "predictions.csv").unlink(), "fold2/predictions.csv: is missing"),
        (lambda cv: (cv / "fold2" / "split.json").write_text("{"), "fold2/split.json: can't be read"),
        (
            lambda cv: (cv / "fold2" / "run.json").write_text(
                (cv / "fold2" / "run.json").read_text().replace("FINISHED", "KILLED")
            ),
            "fold2: its run is KILLED: repeat the command",
        ),
    ],
)
def test_what_is_missing_is_named(trained, tmp_path, harm, message):
    folder, _ = trained
    cv = tmp_path / "cv"
    shutil.copytree(folder, cv)
    harm(cv)
    with pytest.raises(UserError, match=message) as caught:
        read_cross_validation(cv)
    assert "\n" not in str(caught.value)


def test_results_are_written_and_recorded_once(trained, tmp_path):
    folder, _ = trained
    cv = tmp_path / "cv"
    shutil.copytree(folder, cv)
    opened = []

    def open_run(experiment, name):
        opened.append((experiment, name, MemoryRecorder("own-run")))
        return opened[-1][2]

    report = write_results(read_cross_validation(cv), open_run)
    assert opened[0][:2] == ("flowers", "cv, 3 folds")
    metrics = {
        name: value
        for event in opened[0][2].events
        if isinstance(event, Metrics)
        for name, value in event.values.items()
    }
    assert metrics["out_of_fold_accuracy"] == report.found.scores.accuracy == report.found.scores.hits / 60
    assert tags_of(opened[0][2])["flowerml.fold_runs"] == ",".join(run.run.run_id for run in report.found.runs)
    stored = json.loads((cv / FILE).read_text())
    assert (stored["run_id"], stored["out_of_fold"]["hits"]) == ("own-run", report.found.scores.hits)
    assert sum(run["hits"] for run in stored["runs"]) == report.found.scores.hits
    assert read_predictions(cv / "predictions.csv").images == report.found.predictions.ids
    assert "Classes that need more pictures" in (cv / PAGE).read_text()

    assert write_results(read_cross_validation(cv), open_run).run_id == "own-run"
    assert len(opened) == 1


def test_the_table_of_next_pictures_has_every_picture_likely_wrong_labels_first(trained, tmp_path):
    folder, _ = trained
    cv = tmp_path / "cv"
    shutil.copytree(folder, cv)
    report = write_results(read_cross_validation(cv), None)
    rows = list(csv.DictReader((cv / TABLE).open(encoding="utf-8")))
    assert {row["image"] for row in rows} == set(report.found.predictions.ids)
    marked = [row["label_is"] == "likely wrong" for row in rows]
    assert marked == sorted(marked, reverse=True)
    assert sum(marked) == sum(report.label_errors.estimated.values())
    margins = [float(row["p_first"]) - float(row["p_second"]) for row in rows if not row["label_is"]]
    assert margins == sorted(margins)


def test_the_photos_folder_that_is_gone_is_told(trained, tmp_path, flowers):
    folder, _ = trained
    moved = tmp_path / "photos"
    shutil.copytree(flowers, moved)
    next(moved.rglob("*.jpg")).unlink()
    with pytest.raises(UserError, match="1 of the pictures are not there any more"):
        write_results(read_cross_validation(folder), None, moved)


def test_dataset_check_judges_labels_by_the_folds(trained, flowers, tmp_path, capsys):
    folder, _ = trained
    page = tmp_path / "page.html"
    words = ["dataset", "check", "--train-dir", str(flowers), "--folds", str(folder), "--json", "--html", str(page)]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)["suspects"]
    expected = read_cross_validation(folder).label_errors().as_json()
    assert found == expected
    assert "was trained without it" in page.read_text()


def test_dataset_check_leaves_new_pictures_unjudged(trained, flowers, tmp_path, capsys, caplog):
    folder, _ = trained
    grown = tmp_path / "grown"
    shutil.copytree(flowers, grown)
    first = next((grown / "rose").glob("*.jpg"))
    shutil.copy(first, grown / "rose" / "new.jpg")
    assert main(["dataset", "check", "--train-dir", str(grown), "--folds", str(folder), "--json"]) == 0
    assert "1 of 61 pictures are new, changed" in caplog.text
    judged = json.loads(capsys.readouterr().out)["suspects"]["by_class"]["rose"]
    assert "rose/new.jpg" not in {row["key"] for row in judged}


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_dataset_check_of_other_pictures_than_the_folds_is_one_line(trained, tmp_path, capsys, flags):
    folder, _ = trained
    others = tmp_path / "others"
    assert main(["dataset", "make", "--train-dir", str(others), "--per-class", "2", "--seed", "99"]) == 0
    capsys.readouterr()
    assert main(["dataset", "check", "--train-dir", str(others), "--folds", str(folder), *flags]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == f"error: {folder}: none of the pictures in {others} is one that it was trained on\n"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"folds": "1"}, "--folds is 1. Allowed: 0 for a single split, or 2 to 20"),
        ({"folds": "0", "fold": "2"}, "--fold 2 needs --folds 2 or more, and it is 0"),
        ({"fold": "4"}, "--fold 4 needs --folds 4 or more, and it is 3"),
        ({"val_split": "0"}, "--folds 3 does not go with --val-split 0"),
        ({"model": "relation:timm:test_convnext2", "val_split": "0"}, "--folds 3 does not go with --val-split 0"),
    ],
)
def test_wrong_settings_are_refused(flowers, given, message):
    with pytest.raises(UserError) as caught:
        settings_of(flowers, **given)
    assert message in str(caught.value)


def test_unlabelled_photos_are_ranked_by_how_much_the_folds_disagree(trained, flowers, tmp_path, capsys):
    """The disagreement is that of the folds' own predictions; a file that is no picture is told and harms no other."""
    folder, _ = trained
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("rose", "tulip"):
        for path in sorted((flowers / name).glob("*.jpg"))[:4]:
            shutil.copy(path, photos / f"{name}-{path.name}")
    (photos / "broken.jpg").write_bytes(b"no picture")
    page = tmp_path / "next.html"
    words = ["dataset", "next", "--folds", str(folder), "--photos", str(photos), "--html", str(page), "--json"]
    assert main([*words, "--device", "cpu"]) == 1
    found = json.loads(capsys.readouterr().out)
    scores = [row["disagreement"] for row in found["pictures"]]
    assert len(scores) == 8
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[-1] >= 0
    assert [row["image"] for row in found["bad"]] == [str(photos / "broken.jpg")]
    models = [load_cnn_model(folder / f"fold{fold}" / "best.pth") for fold in (1, 2, 3)]
    first = found["pictures"][0]
    shares = np.array([predict_proba(model, first["image"])[0] for model in models], dtype=np.float64)
    mean = shares.mean(axis=0)
    expected = -(mean * np.log(mean)).sum() + (shares * np.log(shares)).sum(axis=1).mean()
    assert first["disagreement"] == pytest.approx(expected, abs=1e-5)
    assert first["p_first"] == pytest.approx(mean.max(), abs=1e-6)
    assert "Photos to label next" in page.read_text()
    assert len(page.with_suffix(".csv").read_text().splitlines()) == 9


def test_next_names_what_it_needs(capsys):
    assert main(["dataset", "next", "--photos", "anywhere"]) == 2
    assert "dataset next needs --folds" in capsys.readouterr().err
