"""The labels that a trained model doubts: judged out of sample, on the page, and planted wrong ones are found."""

import json

import pandas as pd
import pytest

from flowerml.cli.main import main
from flowerml.data.quality.summary import folder_report
from flowerml.runs.data_check import find_suspect_labels
from flowerml.tasks.flowers import FlowersTask
from flowerml.training.checkpoints.checkpoint import load_checkpoint

PLANTED = 10


@pytest.fixture(scope="module")
def judged(flowers, small_run):
    """A small model, and what it doubts of the pictures it was trained and validated on."""
    path = small_run[0].folder / "best.pth"
    scanned = FlowersTask().scan(flowers, None)
    return path, find_suspect_labels(load_checkpoint(path), path, scanned, folder_report(scanned), "cpu")


def test_validation_pictures_are_judged_by_the_checkpoint_itself_and_no_others(judged):
    """Its own probabilities for the pictures it never saw, as in predictions.csv; a training picture's come from the
    fitted heads.
    """
    path, suspects = judged
    own = pd.read_csv(path.parent / "predictions.csv").set_index("image")
    every = {one.key: one for rows in suspects.by_class.values() for one in rows}
    assert len(own) < len(every) == 60
    for key, row in own.iterrows():
        assert every[key].p_label == pytest.approx(row[f"p_{row.label}"], rel=1e-4)
    assert f"{len(own)} validation pictures" in suspects.how


def test_pictures_of_another_folder_are_judged_by_fitted_heads_only(judged, flowers):
    path, _ = judged
    scanned = FlowersTask().scan(flowers, ["daisy", "rose"])
    found = find_suspect_labels(load_checkpoint(path), path, scanned, folder_report(scanned), "cpu")
    assert set(found.by_class) == {"daisy", "rose"}
    assert "no picture by a head that has seen its label" in found.how


def test_the_command_shows_the_suspects_and_puts_them_on_the_page(judged, flowers, tmp_path, capsys):
    path, suspects = judged
    page = tmp_path / "page.html"
    words = [
        "dataset",
        "check",
        "--train-dir",
        str(flowers),
        "--checkpoint",
        str(path),
        "--device",
        "cpu",
        "--html",
        str(page),
    ]
    assert main([*words, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["suspects"]
    assert shown["estimated"] == dict(suspects.estimated)
    assert shown["by_class"]["tulip"][0]["p_label"] == pytest.approx(suspects.by_class["tulip"][0].p_label, rel=1e-6)
    assert page.read_text("utf-8").count("data:image/jpeg;base64,") == 60
    assert suspects.by_class["tulip"][0].key in page.read_text("utf-8")
    assert main(words) == 0
    assert f"tulip: {suspects.estimated['tulip']} likely wrong" in capsys.readouterr().out


def test_a_wrong_checkpoint_is_said_before_the_pictures_are_read(flowers, capsys):
    assert main(["dataset", "check", "--train-dir", str(flowers), "--checkpoint", "nosuch.pth"]) == 2
    assert (
        capsys.readouterr().err
        == "error: checkpoint nosuch.pth: no such file. Give a run's best.pth or a delivered .pth\n"
    )


@pytest.mark.slow
def test_real_daisies_among_real_dandelions_are_found(real_photos, real_backbone, train_small, tmp_path):
    """120 photos of each class, 10 more daisies in the dandelions' folder, under a pretrained backbone and a head that
    learnt them all.
    """
    for name in ("daisy", "dandelion", "rose", "sunflower", "tulip"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for photo in sorted((real_photos / name).iterdir())[:120]:
            (tmp_path / "data" / name / photo.name).symlink_to(photo)
    planted = {f"dandelion/{photo.name}" for photo in sorted((real_photos / "daisy").iterdir())[120 : 120 + PLANTED]}
    for key in planted:
        (tmp_path / "data" / key).symlink_to(real_photos / "daisy" / key.partition("/")[2])
    half = "0.5,0.5,0.5"
    backbone = {
        "model": "timm:mobilenetv2_100",
        "weights": str(real_backbone),
        "mean": half,
        "std": half,
        "img_size": 160,
    }
    frozen = {"epochs": 3, "freeze_backbone_epochs": 3, "lr_head": 2e-3, "mixup": 0, "cutmix": 0, "randaugment": 0}
    finished, _ = train_small(train_dir=str(tmp_path / "data"), **backbone, **frozen)
    path = finished.folder / "best.pth"
    scanned = FlowersTask().scan(tmp_path / "data", None)
    suspects = find_suspect_labels(load_checkpoint(path), path, scanned, folder_report(scanned), "cpu")
    first = {one.key for one in suspects.by_class["dandelion"][:20]}
    assert len(first & planted) >= 8
