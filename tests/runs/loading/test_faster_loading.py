"""Runs with the OpenCV recipe and the cache of pictures: the same wherever pictures lie, and after a stop."""

import sys

import pytest

from flowerml.errors import UserError
from flowerml.events import Params
from flowerml.runs.train import run_training
from flowerml.settings import resolve
from tests.runs.conftest import SMALL
from tests.runs.interrupted_runs import assert_whole, epoch

FAST = {"augment_backend": "opencv", "randaugment": 9, "random_erasing": 0.3, "epochs": 2, "patience": 0}


@pytest.mark.slow
def test_resumed_is_uninterrupted_whatever_store_and_workers(begin, train_small, tmp_path, capsys):
    """Memory and a worker process; then, interrupted, memory and the disk, without one."""
    finished, _ = train_small(dropout=0.2, **FAST, cache_images="ram", workers=1)
    begin(epoch(2), **FAST, cache_images="ram", checkpoint_every_steps=2)
    recorder = begin(**FAST, cache_images="disk")
    assert "it goes on after" in capsys.readouterr().err
    assert_whole(tmp_path / "out", finished)
    [params] = [event for event in recorder.events if isinstance(event, Params)]
    assert params.values["cache_images"] == "disk"


def test_without_opencv_the_run_does_not_start(flowers, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.delitem(sys.modules, "flowerml.data.augment.opencv_ops", raising=False)
    settings, _ = resolve({**SMALL, **FAST, "train_dir": str(flowers), "output_dir": str(tmp_path / "out")})
    with pytest.raises(UserError, match=r"--augment-backend opencv: OpenCV can't be loaded.*pip install opencv"):
        run_training(settings, lambda *_: pytest.fail("nothing is recorded"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("change", [{"augment_backend": "opencv"}, {"cache_images": "ram"}])
def test_not_for_pairs_of_objects(change):
    [name] = change
    with pytest.raises(UserError, match=rf"--{name.replace('_', '-')} \w+: only for whole pictures"):
        resolve({"model": "relation_resnet18", **change})
