"""One run in several processes: what is refused before it starts, and torchrun's processes as one training."""

import csv
import os
import shutil
import subprocess
import sys

import pytest

from flowerml.errors import RunFailed, UserError
from flowerml.runs.prepare import prepare
from flowerml.runs.ranks.rendezvous import under_torchrun
from flowerml.runs.train import run_training
from flowerml.settings import resolve
from flowerml.training.device import default_workers, pick_device, rank_device
from flowerml.training.distributed.torchrun import Torchrun, torchrun
from tests.runs.conftest import SMALL

SECOND = Torchrun(rank=1, local_rank=1, world=2, local_world=2)


def settings(**changes):
    return resolve({**SMALL, **changes})[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"probe": True, "freeze_backbone_epochs": 3, "lr_backbone": 0}, "--gpus 2 does not go with --probe"),
        ({"device": "cuda:1"}, "--gpus 2 does not go with --device cuda:1"),
        ({"device": "mps"}, "--gpus 2 does not go with --device mps"),
    ],
)
def test_what_contradicts_several_processes_is_refused(changes, words):
    with pytest.raises(UserError, match=words):
        settings(gpus=2, **changes)


def test_a_batch_smaller_than_the_number_of_processes_is_refused(flowers):
    with pytest.raises(UserError, match=r"--batch-size 3: each of the 4 processes \(--gpus\) needs 1 of every batch"):
        prepare(settings(gpus=4, batch_size=3, train_dir=str(flowers)))


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match=r"--gpus 2: this machine has no GPU\. Allowed: .* with --device cpu"):
        pick_device(None, processes=2)
    assert pick_device("cpu", processes=2).type == "cpu"


@pytest.mark.parametrize(
    ("requested", "own"), [("cpu", "cpu"), ("cuda", "cuda:3"), ("cuda:0", "cuda:3"), (None, "cpu")]
)
def test_each_process_of_a_host_takes_the_gpu_of_its_own_number(requested, own):
    assert rank_device(requested, 3) == own


def test_processes_share_the_cores_for_loading(monkeypatch):
    import torch

    monkeypatch.setattr("flowerml.training.device.usable_cores", lambda: 16)
    assert [default_workers(torch.device("cuda"), count) for count in (1, 4, 32)] == [16, 4, 1]


def test_place_is_torchruns_and_only_where_torchrun_has_started_the_process(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert torchrun() is None
    for name, value in {
        "TORCHELASTIC_RUN_ID": "1",
        "WORLD_SIZE": "2",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
    }.items():
        monkeypatch.setenv(name, value)
    assert torchrun() == SECOND


def test_under_torchrun_its_number_of_processes_counts():
    assert under_torchrun(settings(), SECOND).gpus == under_torchrun(settings(gpus=2), SECOND).gpus == 2
    with pytest.raises(UserError, match="--gpus 3: torchrun has started 2 processes"):
        under_torchrun(settings(gpus=3), SECOND)


@pytest.mark.slow
def test_a_replica_that_sees_other_pictures_ends_the_run_with_its_reason(flowers, tmp_path, monkeypatch):
    """Rank 0 tells a replica of a data digest that is not that of the folder, as another host's folder would have."""
    from flowerml.events import MemoryRecorder
    from flowerml.runs.ranks import launch

    task = launch.ReplicaTask.of
    monkeypatch.setattr(
        launch.ReplicaTask,
        "of",
        lambda run, start: task(run, start).__class__(**{**vars(task(run, start)), "data": "0"}),
    )
    wanted = settings(gpus=2, train_dir=str(flowers), output_dir=str(tmp_path / "out"))
    with pytest.raises(RunFailed, match="process 2 of 2 of this training: it sees other pictures or weights"):
        run_training(wanted, lambda *_: MemoryRecorder())


@pytest.mark.slow
def test_torchrun_trains_what_one_process_trains(flowers, tmp_path, train_small, empty_store):
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    # In float32: bfloat16 rounds sums over 16 pictures unlike those over 8 and 8, on some processors visibly.
    one, _ = train_small(drop_path=0.0, amp=False)
    flags = [word for name, value in SMALL.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["entrypoints/train.py", *flags, "--drop-path", "0", "--no-amp", "--train-dir", str(flowers)]
    done = subprocess.run(
        [*command, "--output-dir", str(tmp_path / "out")],
        env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]

    def history(folder):
        with (folder / "history.csv").open() as file:
            rows = list(csv.DictReader(file))
        return [{name: float(text) for name, text in row.items() if name != "images_per_second"} for row in rows]

    for two, alone in zip(history(tmp_path / "out"), history(one.folder), strict=True):
        assert two == pytest.approx(alone, rel=1e-4, abs=1e-5)
    assert done.stderr.count("is FINISHED") == 1, "one process alone speaks and tracks"
