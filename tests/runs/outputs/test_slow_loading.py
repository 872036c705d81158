"""Tests of the metric `data_wait`, and of the line that says what shortens it."""

import pytest

from flowerml.errors import UserError
from flowerml.events import Metrics
from flowerml.runs.outputs import slow_loading
from flowerml.runs.outputs.slow_loading import remedy
from flowerml.settings import Family, resolve
from flowerml.settings.families.recipes import takes


def data_waits(recorder):
    return [
        event.values["data_wait"]
        for event in recorder.events
        if isinstance(event, Metrics) and "data_wait" in event.values
    ]


def test_a_run_that_waits_says_once_what_helps(train_small, monkeypatch, capsys):
    monkeypatch.setattr(slow_loading, "_WORTH_SAYING", 0.0)
    monkeypatch.setattr(slow_loading, "_WORTH_SAYING_S", 0.0)
    _, recorder = train_small()
    assert (
        capsys.readouterr().err.count("of the training's time is waiting for pictures: --augment-backend opencv") == 1
    )
    [share] = data_waits(recorder)
    assert 0 < share < 1


def test_a_run_whose_waiting_is_short_says_nothing(train_small, monkeypatch, capsys):
    monkeypatch.setattr(slow_loading, "_WORTH_SAYING", 0.0)
    monkeypatch.setattr(slow_loading, "_WORTH_SAYING_S", 3600.0)
    _, recorder = train_small()
    assert "waiting for pictures" not in capsys.readouterr().err
    assert len(data_waits(recorder)) == 1


def test_a_linear_probe_reads_no_pictures_in_its_epochs(train_small):
    _, recorder = train_small(probe=True, epochs=2, freeze_backbone_epochs=2, lr_backbone=0.0, warmup_epochs=0)
    assert data_waits(recorder) == []


@pytest.mark.parametrize(
    ("changes", "family", "says"),
    [
        ({}, Family.CNN, "--augment-backend opencv --cache-images auto loads them faster"),
        ({"augment_backend": "opencv"}, Family.CNN, "--cache-images auto loads them faster"),
        ({"cache_images": "disk"}, Family.VIT, "--augment-backend opencv loads them faster"),
        ({"augment_backend": "opencv", "cache_images": "ram"}, Family.CNN, "more --workers than 3 load them faster"),
        ({"model": "relation_resnet18"}, Family.RELATION, "more --workers than 3 load them faster"),
    ],
)
def test_what_helps_is_what_is_not_on_and_what_the_task_takes(changes, family, says):
    assert remedy(resolve(changes)[0], family, 3).startswith(says)


@pytest.mark.parametrize("name", ["mixup", "random_erasing", "augment_backend", "cache_images"])
def test_a_family_takes_a_setting_where_it_is_not_refused(name):
    value = {"mixup": 0.2, "random_erasing": 0.1, "augment_backend": "opencv", "cache_images": "ram"}[name]
    with pytest.raises(UserError):
        resolve({"model": "relation_resnet18", name: value})
    resolve({"model": "convnextv2_atto", name: value})
    assert [takes(name, family) for family in (Family.CNN, Family.VIT, Family.RELATION)] == [True, True, False]
