"""What flowerml and MLflow have written into a folder of pictures is no class, and its figures are no pictures."""

import pytest

from flowerml.data.folders import read_layout
from flowerml.data.folders.kinds import Reason
from flowerml.errors import UserError
from tests.data.pictures import put

FIGURES = ("curves.png", "confusion_matrix.png")
OUTPUTS = {
    "runs": [f"runs/x-1/{name}" for name in ("run.json", "settings.json", *FIGURES)],
    "a run's folder": [f"r/{name}" for name in ("run.json", "attempts/0001/claim.json", *FIGURES)],
    "a run that begins": ["r/attempts/0001/claim.json", "r/journal.jsonl"],
    "a campaign": ["runs/c/campaign.json", "runs/c/table.csv", "runs/c/A01/run.json", "runs/c/A01/curves.png"],
    "an evaluation": ["eval_test/confusion_matrix.png", "eval_test/predictions.csv"],
    "a delivery": ["delivery/flowers_classifier.py", "delivery/eval_test/confusion_matrix.png"],
    "mlruns": ["mlruns/1/0123456789abcdef0123456789abcdef/artifacts/curves.png"],
    "mlartifacts": ["mlartifacts/1/0123456789abcdef0123456789abcdef/artifacts/curves.png"],
    "artifacts": ["store/0123456789abcdef0123456789abcdef/artifacts/curves.png"],
    "the demo": ["demo/mlflow.db", "demo/data/rose/1.png", "demo/runs/c/campaign.json"],
    "a sweep": ["sweep/trials.csv", "sweep/trials.md", "sweep/importance.png"],
}


@pytest.fixture
def root(tmp_path):
    for file in ("cat/1.jpg", "dog/1.jpg"):
        put(tmp_path / file, b"")
    return tmp_path


@pytest.mark.parametrize("files", OUTPUTS.values(), ids=OUTPUTS)
def test_output_beside_the_classes_is_no_class_and_is_counted(root, files):
    for file in files:
        put(root / file, b"")
    layout = read_layout(root, ("folders",), {})
    assert layout.classes == ("cat", "dog")
    assert [(entry.folder, entry.reason) for entry in layout.passed_over] == [("", Reason.OWN_OUTPUT)]


@pytest.mark.parametrize("files", OUTPUTS.values(), ids=OUTPUTS)
def test_output_in_a_class_folder_gives_no_pictures(root, files):
    for file in files:
        put(root / "cat" / file, b"")
    layout = read_layout(root, ("folders",), {})
    assert [picture.key for picture in layout.files] == ["cat/1.jpg", "dog/1.jpg"]
    assert Reason.OWN_OUTPUT in {entry.reason for entry in layout.passed_over if entry.folder == "cat"}


def test_a_class_called_runs_is_a_class_where_it_holds_pictures(root):
    put(root / "runs" / "1.jpg", b"")
    assert read_layout(root, ("folders",), {}).classes == ("cat", "dog", "runs")


def test_a_class_that_is_named_is_taken_whatever_its_name(root):
    put(root / "lost+found" / "1.jpg", b"")
    assert read_layout(root, ("cat", "lost+found"), {}).classes == ("cat", "lost+found")


def test_output_as_the_training_folder_is_refused_with_what_it_is(tmp_path):
    for name in ("a", "b"):
        for file in ("run.json", "settings.json", *FIGURES):
            put(tmp_path / "runs" / name / file, b"")
    with pytest.raises(UserError, match=r"no folder for any class.*2 folders of flowerml's or MLflow's output"):
        read_layout(tmp_path / "runs", ("folders",), {})


@pytest.mark.parametrize("name", ["__MACOSX", "$RECYCLE.BIN", "@eaDir", "lost+found", ".ipynb_checkpoints"])
def test_folders_of_systems_are_no_classes(root, name):
    put(root / name / "cat" / "._1.jpg", b"")
    put(root / name / "2.jpg", b"")
    layout = read_layout(root, ("folders",), {})
    assert (layout.classes, layout.left_out) == (("cat", "dog"), ())
    assert [entry.kind for entry in layout.passed_over] == [name]
