"""`flowerml explain`: overlays and a page; pictures that can't be read; mistakes in one line that leave nothing."""

import json
from dataclasses import replace

import pytest
from PIL import Image

from flowerml.cli.main import run_command
from flowerml.errors import UserError
from flowerml.events import MemoryRecorder
from flowerml.prediction import load_cnn_model, predict, predict_proba
from flowerml.runs.train import run_training
from flowerml.settings import Family, resolve
from flowerml.training.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from tests.cli.refused import assert_refused
from tests.runs.conftest import SMALL


@pytest.fixture(scope="module")
def run(flowers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "out"
    changes = {"epochs": 1, "warmup_epochs": 0, "img_size": 96, "train_dir": str(flowers), "output_dir": str(folder)}
    run_training(resolve({**SMALL, **changes})[0], lambda *_: MemoryRecorder())
    return folder


def call(*words) -> int:
    return run_command("explain", [str(word) for word in words])


def test_writes_an_overlay_for_each_picture_and_a_page(run, flowers, tmp_path, capsys):
    pictures = sorted((flowers / "rose").iterdir())[:3]
    assert call(run, *pictures, "--output-dir", tmp_path / "out", "--device", "cpu", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["image"] for row in rows] == list(map(str, pictures))
    model = load_cnn_model(run / "best.pth")
    assert [row["predicted"] for row in rows] == predict(model, list(map(str, pictures)))
    for row, shares in zip(rows, predict_proba(model, list(map(str, pictures))), strict=True):
        assert row["probability"] == pytest.approx(shares.max(), abs=1e-5)
        with Image.open(row["overlay"]) as overlay:
            assert overlay.width == overlay.height >= 320
    page = (tmp_path / "out" / "explain.html").read_text("utf-8")
    assert page.count("data:image/jpeg") == 6
    assert all(str(path) in page for path in pictures)
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_a_file_with_several_views_is_explained_by_the_first(run, flowers, tmp_path, capsys):
    picture = next((flowers / "rose").iterdir())
    save_checkpoint(tmp_path / "views.pth", replace(load_checkpoint(run / "best.pth"), tta="flip-scales"))
    assert call(run, picture, "--output-dir", tmp_path / "one") == 0
    assert call(tmp_path / "views.pth", picture, "--output-dir", tmp_path / "views") == 0
    overlay = f"001_{picture.stem}.png"
    assert (tmp_path / "one" / overlay).read_bytes() == (tmp_path / "views" / overlay).read_bytes()


def test_pictures_that_cannot_be_read_are_named_and_the_others_explained(run, flowers, tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"\xff\xd8\xff no picture")
    good = folder / "b <i>.jpg"
    good.write_bytes(next((flowers / "tulip").iterdir()).read_bytes())
    assert call(run / "best.pth", folder, "--output-dir", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert said.out.count("\n") == 1
    assert "warning: " in said.err
    assert "a.jpg: " in said.err
    page = (tmp_path / "out" / "explain.html").read_text("utf-8")
    assert "b &lt;i&gt;.jpg" in page
    assert "b <i>.jpg" not in page
    good.unlink()
    assert call(run, folder / "a.jpg", "--output-dir", tmp_path / "none") == 1
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("a b", "the following arguments are required: --output-dir. flowerml explain --help lists the flags"),
        ("a b --output-dir out", "a: no such file. Allowed: a delivered .pth, or a run's best.pth"),
        ("full b --output-dir full", "--output-dir full is not empty (it holds x): name a new or empty folder"),
        ("full/x full/x --output-dir out", "checkpoint full/x: can't be read (File is not a zip file)"),
    ],
)
def test_mistakes_are_one_line(words, line, tmp_path, monkeypatch, capsys):
    assert_refused(call, words, line, tmp_path, monkeypatch, capsys)


def test_an_architecture_without_maps_leaves_nothing(run, flowers, tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise UserError("no feature map")

    monkeypatch.setattr("flowerml.prediction.explain.heat_maps", refuse)
    assert call(run, flowers, "--output-dir", tmp_path / "out") == 2
    assert capsys.readouterr().err == "error: no feature map\n"
    assert not (tmp_path / "out").exists()


def test_a_model_of_relations_is_refused(run, flowers, tmp_path, capsys):
    checkpoint = load_checkpoint(run / "best.pth")
    save_checkpoint(tmp_path / "r.pth", replace(checkpoint, spec=replace(checkpoint.spec, family=Family.RELATION)))
    assert call(tmp_path / "r.pth", flowers, "--output-dir", tmp_path / "out") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()
