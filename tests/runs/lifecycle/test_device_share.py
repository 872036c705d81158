"""How several trainings share a machine."""

import pytest

from flowerml.process.threads import usable_cores
from flowerml.runs.lifecycle.device_share import DeviceShare, device_share, visible_gpus


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_gpus_go_round():
    given = [device_share(place, 3, ("4", "7")).environment["CUDA_VISIBLE_DEVICES"] for place in range(3)]
    assert given == ["4", "7", "4"]
    assert device_share(0, 3, ("4", "7")).threads is None


def test_a_machine_without_a_gpu_shares_out_its_cores():
    assert device_share(1, 2, ()) == DeviceShare({}, max(1, usable_cores() // 2))
    assert device_share(0, 1000, ()).threads == 1


def test_the_only_training_has_all_of_it(monkeypatch):
    assert device_share(0, 1, ("4", "7")) == device_share(0, 1, ()) == DeviceShare({}, None)


def test_who_has_said_how_many_threads_is_obeyed(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert device_share(1, 2, ()).threads is None


def test_gpus_are_those_that_this_process_may_see(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-5f")
    assert visible_gpus() == ["2", "GPU-5f"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert visible_gpus() == []
