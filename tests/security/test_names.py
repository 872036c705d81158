"""Doors of names: pictures and classes are named by strangers, and their names stand in pages, tables and logs."""

import csv
import re

import pytest
from mlflow import MlflowClient

from flowerml.cli.main import run_command
from flowerml.data.decode import BadImage
from flowerml.data.folders.finder import PictureFinder
from tests.data.pictures import put_scene
from tests.reporting.parsed_page import ParsedPage
from tests.runs.conftest import SMALL

CLASSES = ("<img src=x onerror=alert(1)>", "[go](javascript:alert(1)) | b")
PICTURES = ('"><svg onload=alert(2)>.jpg', "=HYPERLINK(1).jpg", "\x1b[2Jred.jpg", "a\nerror: forged.jpg", "`|*.jpg")
OWN_SCRIPTS = 2  # the most that a page of flowerml has


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("hostile")
    for place, name in enumerate(CLASSES):
        for number, picture in enumerate(PICTURES * 3):
            put_scene(root / name / f"{number // len(PICTURES)}{picture}", 100 * place + number)
        for number, picture in enumerate(PICTURES):
            put_scene(root / name / picture, 1000 * (place + 1) + number)
    return root


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """What a training of that folder says and leaves: its folder, stderr, and its MLflow run."""
    out = tmp_path_factory.mktemp("trained") / "out"
    store = f"sqlite:///{out.parent / 'mlflow.db'}"
    settings = {**SMALL, "epochs": 1, "warmup_epochs": 0, "freeze_backbone_epochs": 0, "lr_head": 1e-5}
    words = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    patch = pytest.MonkeyPatch()
    patch.setenv("MLFLOW_TRACKING_URI", store)
    patch.chdir(out.parent)
    try:
        assert (
            run_command("train", [*words, "--train-dir", str(folder), "--classes", "folders", "--output-dir", str(out)])
            == 0
        )
    finally:
        patch.undo()
    client = MlflowClient(store)
    (run,) = client.search_runs([client.get_experiment_by_name("flowers").experiment_id])
    return out, run


def assert_nothing_injected(page: ParsedPage) -> None:
    assert not [value for tag, attributes in page.tags for value in attributes if value.startswith("on")]
    assert not [attributes for attributes in page.all("img") if attributes.get("src") == "x"]
    assert not page.all("svg") or all("onload" not in attributes for attributes in page.all("svg"))
    assert not [href for href in page.values("href") if href and href.lower().startswith("javascript:")]
    assert len(page.all("script")) <= OWN_SCRIPTS


def test_the_page_of_mistakes_has_the_names_as_text(trained):
    page = ParsedPage((trained[0] / "errors.html").read_text("utf-8"))
    assert_nothing_injected(page)
    assert CLASSES[0] in page.text


def test_the_page_of_a_data_check_too(folder, tmp_path, capsys):
    words = ["check", "--train-dir", str(folder), "--classes", "folders", "--html", str(tmp_path / "page.html")]
    assert run_command("dataset", words) in (0, 1)
    page = ParsedPage((tmp_path / "page.html").read_text("utf-8"))
    assert_nothing_injected(page)
    assert CLASSES[0] in page.text
    assert "\x1b" not in "".join(capsys.readouterr())


def test_the_description_in_mlflow_has_no_markup_of_a_class(trained):
    """MLflow renders Markdown: `<`, `[` and `|` of a name are escaped, so that nothing is a tag, a link or a column."""
    note = trained[1].data.tags["mlflow.note.content"]
    assert re.search(r"(?<!\\)<img", note) is None
    assert re.search(r"(?<!\\)\[go\]", note) is None
    assert r"\<img" in note
    assert r"\[go" in note


def test_no_spreadsheet_computes_a_name(trained):
    with (trained[0] / "predictions.csv").open(newline="", encoding="utf-8") as handle:
        cells = [cell for row in csv.reader(handle) for cell in row]
    number = re.compile(r"-?[\d.]+(e[+-]?\d+)?")
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@") and not number.fullmatch(cell)]


def test_no_name_forges_a_line_or_a_colour_of_the_log(folder, trained, capsys):
    """A line break in a name would begin a line of its own; an escape sequence would clear the terminal."""
    assert run_command("predict", ["--model", str(trained[0] / "best.pth"), str(folder / CLASSES[0])]) == 0
    said = "".join(capsys.readouterr())
    assert "\x1b" not in said
    assert not [line for line in said.splitlines() if line.startswith("error: forged")]


@pytest.mark.parametrize("name", ["../secret.jpg", "a/../../secret.jpg", "/etc/secret.jpg", "..", "a/b/../../../x.jpg"])
def test_an_annotated_picture_is_below_the_folder_of_the_pictures(tmp_path, name):
    (tmp_path / "pictures" / "a").mkdir(parents=True)
    put_scene(tmp_path / "secret.jpg", 1)
    with pytest.raises(BadImage, match="leads out of the folder"):
        PictureFinder(tmp_path / "pictures").path(name)


def test_paths_that_stay_inside_are_as_before(tmp_path):
    put_scene(tmp_path / "a" / "x.jpg", 1)
    finder = PictureFinder(tmp_path)
    inside = (tmp_path / "a" / "x.jpg").resolve()
    assert [finder.path(name).resolve() for name in ("a/x.jpg", "a/../a/x.jpg", "x.jpg", str(inside))] == [inside] * 4
