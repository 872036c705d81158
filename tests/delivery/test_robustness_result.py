"""Results of `flowerml robustness` in the model card: those of the delivered weights, and no others."""

import json
import os
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from flowerml.cli.main import main
from flowerml.delivery.robustness_result import find_robustness, recorded_robustness
from flowerml.evaluation.corruptions import CORRUPTIONS
from flowerml.files import file_digest
from flowerml.runs.lifecycle.run_file import RunFile, write_run_file
from flowerml.runs.robustness import RobustnessReport
from flowerml.tracking import fetch_registered, register, start_child_run
from tests.data.pictures import put_classes
from tests.delivery.test_export import PHOTOS, leave_run
from tests.evaluation.robustness_samples import N, measured
from tests.sweep.commands import runs_of
from tests.tracking.finished_runs import Store


def leave_result(folder: Path, weights: Path, part="val", photos="/home/someone/photos", **changes) -> Path:
    """What `flowerml robustness` writes for a weights file, with a made-up measurement."""
    report = RobustnessReport(
        weights, file_digest(weights), "m", part, Path(photos), measured(noise=(3, 6, 12), blur=(0, 1, 2)), ()
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "robustness.json").write_text(json.dumps({**report.as_json(), **changes}))
    return folder / "robustness.json"


@pytest.fixture
def weights(tmp_path):
    (tmp_path / "best.pth").write_bytes(b"weights")
    return tmp_path / "best.pth"


def test_the_result_of_these_weights_is_found(weights, tmp_path):
    assert find_robustness(tmp_path, weights) is None
    leave_result(tmp_path / "anywhere", weights)
    found = find_robustness(tmp_path, weights)
    assert (found.weights, found.photos, found.pictures, found.clean) == ("best.pth", "its validation photos", N, 0.9)
    assert list(found.corrupted) == [one.name for one in CORRUPTIONS]
    assert found.corrupted["noise"] == (("8%", 0.85), ("16%", 0.8), ("32%", 0.7))
    assert found.weakest == "noise"
    leave_result(tmp_path, weights, part="test", pictures=N + 1)
    assert find_robustness(tmp_path, weights).photos == "the photos of photos", "that of more pictures"


def test_results_of_other_weights_and_files_that_are_none_are_passed_over(weights, tmp_path, capsys):
    leave_result(tmp_path / "a", weights, sha256="0" * 64)
    leave_result(tmp_path / "b", weights, format="somebody's")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "robustness.json").write_text("{")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "robustness.json").write_bytes(b"\xff[]")
    assert find_robustness(tmp_path, weights) is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "changes", [{"clean": {"accuracy": 7}}, {"clean": None}, {"corruptions": [{}]}, {"pictures": "many"}]
)
def test_a_result_that_lacks_a_part_is_a_line_in_the_log(weights, tmp_path, changes, capsys):
    leave_result(tmp_path / "a", weights, **changes)
    assert find_robustness(tmp_path, weights) is None
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "the robustness.json of best.pth is left out of the model card" in err


@pytest.fixture(scope="module")
def best(tmp_path_factory):
    photos = put_classes(tmp_path_factory.mktemp("photos"), PHOTOS)
    return leave_run(tmp_path_factory.mktemp("run") / "run", photos)


def test_an_export_shows_it_and_says_how_to_get_it(best, tmp_path, capsys):
    words = ["export", "--checkpoint", str(best), "--output-dir", str(tmp_path)]
    assert main(words) == 0
    err = capsys.readouterr().err
    assert err.splitlines()[-1].endswith("cnn_flowers.pth, flowers_classifier.py, MANIFEST.json, MODEL_CARD.md")
    card = tmp_path / "MODEL_CARD.md"
    assert "was not measured: `flowerml robustness RUN --output-dir RUN/robustness`" in card.read_text()

    leave_result(tmp_path / "of the file", tmp_path / "cnn_flowers.pth", part="test")
    assert main(words) == 0
    assert "with cnn\\_flowers.pth on the photos of photos" in card.read_text()

    leave_result(best.parent / "robustness", best)
    assert main(words) == 0
    text = card.read_text()
    assert f"| none | | 0.9000 | {N} |" in text
    assert f"| noise | 8%, 16%, 32% | 0.8500, 0.8000, 0.7000 | {N} |" in text
    assert "with best.pth on its validation photos" in text
    assert "someone" not in text


def test_of_what_a_store_has_only_results_of_these_weights_count(weights, tmp_path):
    contents = [
        json.loads(leave_result(tmp_path / name, weights, weights_digest=digest, pictures=pictures).read_text())
        for name, digest, pictures in (("a", "d", 7), ("b", "d", 9), ("c", "other", 99))
    ]
    assert recorded_robustness(contents, "d").pictures == 9
    assert recorded_robustness(contents, "e") is None
    assert recorded_robustness([{**contents[0], "format": "somebody's"}, {}], "d") is None
    assert recorded_robustness([{"format": contents[0]["format"]}], "") is None


def measure(weights: Path, photos: Path, output: Path) -> int:
    words = ["--output-dir", str(output), "--test-dir", str(photos), "--limit", "1", "--workers", "0"]
    return main(["robustness", str(weights), *words])


@pytest.fixture
def photos(tmp_path):
    return put_classes(tmp_path / "photos", PHOTOS)


def test_an_export_from_the_registry_shows_what_was_recorded_of_its_weights(photos, tmp_path):
    decision = Store(tmp_path).decide()
    register(decision, "cnn")
    found = fetch_registered("cnn", tmp_path / "fetched")
    assert measure(found.weights, photos, tmp_path / "measured") == 0
    (run,) = runs_of("robustness")
    words = ["export", "--family", "cnn", "--output-dir", str(tmp_path / "out")]
    assert main(words) == 0
    text = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    assert "with cnn\\_flowers.pth on the photos of photos" in text
    assert f"| none | | {run.data.metrics['accuracy_clean']:.4f} | 5 |" in text

    MlflowClient().set_tag(run.info.run_id, "flowerml.weights_digest", "0" * 64)
    assert main(words) == 0
    assert "was not measured" in (tmp_path / "out" / "MODEL_CARD.md").read_text(), "of other weights"


def test_the_parent_of_a_delivered_file_is_the_run_of_its_manifest(photos, tmp_path):
    store = Store(tmp_path)
    decision = store.decide()
    register(decision, "cnn")
    assert main(["export", "--family", "cnn", "--output-dir", str(tmp_path / "out")]) == 0
    assert measure(tmp_path / "out" / "cnn_flowers.pth", photos, tmp_path / "measured") == 0
    (run,) = runs_of("robustness")
    assert run.data.tags["mlflow.parentRunId"] == decision.chosen.run_id


def test_a_run_is_looked_up_by_its_id_where_no_file_is_beside_it(photos, tmp_path, capsys, monkeypatch):
    """Measured from the delivered file, another file with the same weights. A store that is away is a warning."""
    best, store = leave_run(tmp_path / "run", photos), os.environ["MLFLOW_TRACKING_URI"]
    words = ["export", "--checkpoint", str(best), "--output-dir", str(tmp_path / "out")]
    card, away = tmp_path / "out" / "MODEL_CARD.md", "http://127.0.0.1:9"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", away)
    assert main(words) == 0
    assert away not in capsys.readouterr().err, "no run is known, so the store is not asked"

    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    (tmp_path / "elsewhere").mkdir()
    delivered = (tmp_path / "out" / "cnn_flowers.pth").rename(tmp_path / "elsewhere" / "cnn_flowers.pth")
    assert measure(delivered, photos, tmp_path / "elsewhere" / "measured") == 0
    recorder = start_child_run(None, "flowers", "x", "train")
    write_run_file(best.parent, RunFile(recorder.run_id, "c" * 64, 11, "FINISHED"))
    assert main(words) == 0
    assert "on the photos of photos" in card.read_text()

    monkeypatch.setenv("MLFLOW_TRACKING_URI", away)
    capsys.readouterr()
    assert main(words) == 0
    assert "the model card goes without what MLflow has on corrupted photos" in (err := capsys.readouterr().err)
    assert f"{away} does not answer" in err
    assert "was not measured" in card.read_text()
