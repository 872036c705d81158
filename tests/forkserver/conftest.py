"""A fork client for the tests of a module, and small training jobs for it."""

import os

import pytest

from flowerml.campaign.execution.job import RUN_JOB, JobKind, RunJob
from flowerml.forkserver.client import ForkClient
from flowerml.forkserver.job import Job
from flowerml.settings import resolve

TINY = {
    "model": "timm:test_convnext2",
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
def fork_client():
    """One that is ready; each job brings the store of its test with it."""
    client = ForkClient(RUN_JOB)
    client.wait_ready()
    yield client
    client.close()


@pytest.fixture
def make_job(flowers, tmp_path, monkeypatch):
    """Makes a training job with TINY and some changes; its folder and log are named after it."""
    monkeypatch.chdir(tmp_path)

    def make(name="one", kind=JobKind.TRAIN, labels=None, environment=None, threads=None, **changes):
        folder = tmp_path / "runs" / name
        settings, _ = resolve({**TINY, "train_dir": str(flowers), "output_dir": str(folder), **changes})
        run = RunJob(name, kind, settings.model_dump(mode="json"), labels or {}, str(tmp_path / f"{name}.log"))
        store = {"MLFLOW_TRACKING_URI": os.environ["MLFLOW_TRACKING_URI"]}
        return Job(name, RUN_JOB, (run,), run.log, {**store, **(environment or {})}, threads)

    return make
