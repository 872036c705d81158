"""`--freeze-views`: epochs with a frozen backbone train the head on features that are computed once."""

import csv
import shutil

import pytest
import torch

from flowerml.data.scan_cache import cache_folder, use_cache_folder
from tests.runs.interrupted_runs import assert_whole, epoch

FROZEN = {"epochs": 3, "freeze_backbone_epochs": 2}
UNMIXED = {**FROZEN, "mixup": 0.0, "cutmix": 0.0, "amp": False}
MIXED = {**FROZEN, "freeze_views": 1, "dropout": 0.2, "oversample": "100:2"}


@pytest.fixture(autouse=True)
def cache(tmp_path):
    """A cache of features for each test."""
    with use_cache_folder(tmp_path / "cache"):
        yield


def rows_of(folder):
    with (folder / "history.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    names = ("train_loss", "grad_norm", "val_loss", "val_accuracy")
    return [{name: float(row[name]) for name in names if row[name]} for row in rows]


def weights_of(folder):
    return torch.load(folder / "best.pth", weights_only=True)["state_dict"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{}, {"oversample": "100:2", "val_split": 0.0}, {"augment_backend": "opencv", "cache_images": "ram"}],
    ids=["plain", "repeats without validation", "opencv, cached"],
)
def test_with_as_many_views_as_frozen_epochs_the_head_learns_what_it_learns_on_images(train_small, changes):
    stopped = {**UNMIXED, "stop_epoch": 2, "monitor": "val_loss", **changes}
    images, features = (train_small(**stopped, freeze_views=views)[0].folder for views in (0, 2))
    for on_images, on_features in zip(rows_of(images), rows_of(features), strict=True):
        assert on_features == pytest.approx(on_images, rel=1e-5, abs=1e-5)
    one, other = weights_of(images), weights_of(features)
    assert other.keys() == one.keys()
    for name, tensor in one.items():
        if name.startswith("backbone."):
            assert torch.equal(other[name], tensor), name
        else:
            assert torch.allclose(other[name], tensor, rtol=0, atol=1e-5), name


@pytest.mark.slow
def test_the_epochs_after_them_train_the_whole_model_on_images(train_small):
    images, features = (train_small(**UNMIXED, freeze_views=views)[0].folder for views in (0, 2))
    assert rows_of(features)[2] == pytest.approx(rows_of(images)[2], rel=1e-3)


@pytest.mark.slow
def test_fewer_views_than_epochs_are_computed_once_and_each_comes_again(train_small, capsys):
    train_small(**UNMIXED, freeze_views=1)
    assert "features of 50 augmented views are computed" in capsys.readouterr().err
    train_small(**UNMIXED, freeze_views=1, lr_head=0.1)
    assert "features of 50 augmented views are there from before" in capsys.readouterr().err
    train_small(**UNMIXED, freeze_views=64)
    assert "features of 50 augmented views are computed (50 are there from before)" in capsys.readouterr().err


@pytest.mark.slow
def test_cutmix_is_left_out_on_features(train_small):
    """Mixup mixes them, as it does for a linear probe."""
    mixed = {**UNMIXED, "freeze_views": 2, "mixup": 0.2}
    with_cutmix, without = (rows_of(train_small(**{**mixed, "cutmix": cutmix})[0].folder) for cutmix in (1.0, 0.0))
    assert with_cutmix[:2] == without[:2]
    assert with_cutmix[2]["train_loss"] != without[2]["train_loss"]
    unmixed = rows_of(train_small(**{**mixed, "mixup": 0.0})[0].folder)
    assert unmixed[0]["train_loss"] != without[0]["train_loss"]


@pytest.fixture(scope="module")
def whole(train_small, tmp_path_factory):
    """A run that nothing interrupts, with all that is random."""
    with use_cache_folder(tmp_path_factory.mktemp("whole")):
        return train_small(**MIXED)[0]


@pytest.mark.slow
@pytest.mark.parametrize("at", [2, 3], ids=["inside a frozen epoch", "after the frozen epochs"])
def test_interrupted_and_resumed_is_as_if_nothing_had_happened(begin, whole, tmp_path, at, capsys):
    begin(epoch(at), checkpoint_every_steps=2, **MIXED)
    shutil.rmtree(cache_folder() / "features")
    capsys.readouterr()
    begin(**MIXED)
    assert ("augmented views are computed" in capsys.readouterr().err) is (at == 2)
    assert_whole(tmp_path / "out", whole)


@pytest.mark.slow
def test_in_bf16_features_are_computed_in_it_too(train_small, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    images, features = (
        rows_of(train_small(**{**UNMIXED, "amp": True, "stop_epoch": 2}, freeze_views=views)[0].folder)
        for views in (0, 2)
    )
    for on_images, on_features in zip(images, features, strict=True):
        assert on_features["train_loss"] == pytest.approx(on_images["train_loss"], rel=1e-3)
        assert on_features["val_loss"] == pytest.approx(on_images["val_loss"], rel=1e-3)


@pytest.mark.slow
def test_two_processes_train_on_features_what_one_trains(train_small):
    changes = {**FROZEN, "freeze_views": 1, "amp": False, "drop_path": 0.0}
    one, two = (rows_of(train_small(**changes, gpus=count)[0].folder) for count in (1, 2))
    for alone, together in zip(one, two, strict=True):
        assert together == pytest.approx(alone, rel=1e-4)
