"""Settings of the augmentation reach the training, with either library, from the cache and for frozen features."""

import csv

import pytest
import torch

from flowerml.data.scan_cache import use_cache_folder
from flowerml.settings import find_model, resolve
from flowerml.tasks.flowers import FlowersTask
from tests.runs.conftest import SMALL

PLAIN = {"epochs": 1, "warmup_epochs": 0, "randaugment": 0, "random_erasing": 0.0}
CHANGES = [{"crop_scale": 0.08}, {"color_jitter": 0.4}, {"trivialaugment": True}]


def losses(folder):
    with (folder / "history.csv").open() as handle:
        return [row["train_loss"] for row in csv.DictReader(handle)]


@pytest.fixture(scope="module")
def plain(train_small):
    """The losses of the run without the setting, by how pictures are loaded."""
    return {
        backend: losses(train_small(**PLAIN, augment_backend=backend)[0].folder)
        for backend in ("torchvision", "opencv")
    }


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torchvision", "opencv"])
@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_each_changes_what_is_trained_on(train_small, plain, backend, change):
    finished, _ = train_small(**PLAIN, augment_backend=backend, **change)
    assert losses(finished.folder) != plain[backend]


@pytest.mark.parametrize(("crop_scale", "edge"), [(0.35, 55), (0.3, 59), (0.6, 42)])
def test_cached_pictures_are_as_large_as_the_smallest_crop_needs(flowers, tmp_path, crop_scale, edge):
    """The photos are about 64 px, the input is 32."""
    given = {"train_dir": str(flowers), "cache_images": "ram", "crop_scale": crop_scale}
    settings, _ = resolve({**SMALL, **given})
    task = FlowersTask()
    with use_cache_folder(tmp_path / "cache"):
        data = task.prepare(settings)
        built = task.build(find_model(settings.model), settings, data.classes)
        views = task.views(built, settings, data, torch.device("cpu"), 0)
        assert min(views.train[0].read().size) == edge


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_frozen_features_of_other_settings_are_not_taken(train_small, tmp_path, capsys, change):
    frozen = {**PLAIN, "freeze_views": 1}
    with use_cache_folder(tmp_path / "cache"):
        for given in ({}, change):
            train_small(**frozen, **given)
            assert "features of 50 augmented views are computed" in capsys.readouterr().err
        train_small(**frozen, **change, lr_head=0.1)
        assert "features of 50 augmented views are there from before" in capsys.readouterr().err
