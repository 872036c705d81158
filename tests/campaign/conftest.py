"""A zygote for the tests of a module, and small jobs for it."""

import os

import pytest

from flowerml.campaign.execution.fork_client import ForkClient
from flowerml.campaign.execution.job import Job, JobKind
from flowerml.settings import resolve
from tests.tracking.conftest import _server, server  # noqa: F401 - fixtures

TINY = {
    "model": "convnextv2_atto",
    "weights": "none",
    "img_size": 32,
    "epochs": 1,
    "batch_size": 16,
    "warmup_epochs": 0,
    "freeze_backbone_epochs": 0,
    "lr_head": 3e-3,
    "lr_backbone": 3e-3,
    "workers": 0,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def forking():
    """One that is ready; each job brings the store of its test with it."""
    found = ForkClient()
    found.wait_ready()
    yield found
    found.close()
    found.wait(60)


@pytest.fixture
def job(flowers, tmp_path, monkeypatch):
    """Makes a job with TINY and some changes; its folder and log are named after it."""
    monkeypatch.chdir(tmp_path)

    def make(name="one", work=JobKind.TRAIN, labels=None, environment=None, threads=None, **changes):
        folder = tmp_path / "runs" / name
        settings, _ = resolve({**TINY, "train_dir": str(flowers), "output_dir": str(folder), **changes})
        log = tmp_path / f"{name}.log"
        around = {"MLFLOW_TRACKING_URI": os.environ["MLFLOW_TRACKING_URI"], **(environment or {})}
        return Job(
            name, work, settings.model_dump(mode="json"), labels or {}, str(log), environment=around, threads=threads
        )

    return make


def until_ended(forking, count=1, seconds=120):
    """The next `count` that end, by name."""
    ended = {}
    for _ in range(seconds):
        ended |= {one.name: one for one in forking.poll(1.0)}
        if len(ended) >= count:
            return ended
    raise AssertionError(f"only {ended} after {seconds} s")
