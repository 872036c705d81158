"""Results of `flowerml robustness` in the model card: those of the delivered weights, and no others."""

import json
from pathlib import Path

import pytest

from flowerml.cli.main import main
from flowerml.delivery.robustness_result import find_robustness
from flowerml.evaluation.corruptions import CORRUPTIONS
from flowerml.files import file_digest
from flowerml.runs.robustness import RobustnessReport
from tests.data.pictures import put_classes
from tests.delivery.test_export import PHOTOS, leave_run
from tests.evaluation.robustness_samples import N, measured


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
