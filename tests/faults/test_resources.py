"""Faults 12 to 15: figures that are not finite, memory, a process that loads pictures, the disk."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch

from flowerml.runs.lifecycle.run_file import read_run_file
from flowerml.training.checkpoints.store import CheckpointStore
from tests.faults.test_killed import assert_as_undisturbed

pytestmark = pytest.mark.slow


@pytest.mark.fault("12 a loss that is not finite")
def test_a_rate_that_blows_up(tally, nursery, pictures, tmp_path):
    """At that very step it stops; best.pth is the one from before."""
    folder = tmp_path / "out"
    with tally.trial():
        changes = {
            "optimizer": "sgd",
            "grad_clip": 0,
            "amp": "false",
            "lr_head": 10,
            "lr_backbone": 10,
            "scheduler": "constant",
        }
        child = nursery.start(pictures, folder, epochs=8, warmup_epochs=0, weights="none", **changes)
        assert child.wait() == 1, child.log()
        assert "ENDED FAILED" in child.log()
        assert "not finite" in child.log() or "is nan" in child.log() or "is inf" in child.log()
        assert read_run_file(folder).status == "FAILED"


@pytest.mark.fault("12 a loss that is not finite")
def test_an_infinite_number_in_a_batch(tally, nursery, pictures, tmp_path):
    folder = tmp_path / "out"
    with tally.trial():
        child = nursery.start(pictures, folder, {"infinite_at": 25})
        assert child.wait() == 1, child.log()
        assert "epoch 3, step 5" in child.log()
        best = torch.load(folder / "best.pth", weights_only=True)
        assert best["epoch"] <= 2
        assert all(torch.isfinite(tensor).all() for tensor in best["state_dict"].values())


@pytest.mark.fault("13 out of memory")
def test_out_of_memory(tally, nursery, pictures, undisturbed, tmp_path):
    """What the system does not give is a line and a FAILED run, not a hang. Where an allocation inside a native library
    fails, that library may end the process itself (oneDNN: a null pointer; glibc: abort, exit code 127): that is as a
    kill. Either way the run goes on once there is memory, to the same weights.
    """
    folder = tmp_path / "out"
    with tally.trial():
        child = nursery.start(pictures, folder, {"memory_beyond": 60_000_000})
        code = child.wait()
        if code in (1, 70):
            assert "ENDED FAILED" in child.log() or not (folder / "run.json").exists(), child.log()
        else:
            assert code in (127, -signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS), child.log()
            assert read_run_file(folder).status == "RUNNING"
        again = nursery.start(pictures, folder)
        assert again.wait() == 0, again.log()
        assert read_run_file(folder).status == "FINISHED"
        if "memory ran out" not in child.log():  # smaller parts of a batch are summed in another order
            assert_as_undisturbed(folder, undisturbed)


@pytest.mark.fault("14 a process that loads pictures dies")
def test_a_data_worker_is_killed(tally, nursery, pictures, undisturbed, tmp_path):
    folder = tmp_path / "out"
    with tally.trial():
        child = nursery.start(pictures, folder, workers=1)
        while not (folder / "history.csv").exists():
            assert child.poll() is None, child.log()
            time.sleep(0.005)
        victims = psutil.Process(child.pid).children()
        assert victims
        os.kill(victims[0].pid, signal.SIGKILL)
        assert child.wait() == 1, child.log()
        assert "a process that loads pictures died" in child.log()
        again = nursery.start(pictures, folder, workers=0)
        assert again.wait() == 0, again.log()
        assert_as_undisturbed(folder, undisturbed)


@pytest.mark.fault("15 the disk is full")
def test_a_limit_of_file_size(tally, nursery, pictures, undisturbed, tmp_path):
    """best.pth fits, the state does not: told with needed and free bytes, and with room again the run goes on."""
    folder = tmp_path / "out"
    with tally.trial():
        size = (undisturbed / "best.pth").stat().st_size
        child = nursery.start(pictures, folder, {"file_bytes": size + 1000})
        assert child.wait() == 1, child.log()
        assert "it needs about" in child.log()
        assert "bytes are free" in child.log() or "bytes, " in child.log()
        again = nursery.start(pictures, folder)
        assert again.wait() == 0, again.log()
        assert_as_undisturbed(folder, undisturbed)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="a small file system needs root")
@pytest.mark.fault("15 the disk is full")
def test_a_file_system_that_is_full(tally, nursery, pictures, undisturbed, tmp_path):
    """Room for one checkpoint and a half: the older one loads, and after somebody made room the run ends as if nothing
    had happened.
    """
    disk = tmp_path / "disk"
    disk.mkdir()
    weights = (undisturbed / "best.pth").stat().st_size
    checkpoint = 5 * weights  # the weights, their average, two moments of each, and best.pth
    options = f"size={weights + int(1.5 * checkpoint)}"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(disk)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    try:
        with tally.trial():
            folder = disk / "out"
            child = nursery.start(pictures, folder)
            assert child.wait() == 1, child.log()
            assert "it needs about" in child.log()
            assert "are free" in child.log()
            run = read_run_file(folder)
            kept = CheckpointStore(folder / "state", run.config_id, run.seed, 2)
            assert kept.latest() is not None
            subprocess.run(["mount", "-o", "remount,size=800m", str(disk)], check=True)
            again = nursery.start(pictures, folder)
            assert again.wait() == 0, again.log()
            assert_as_undisturbed(folder, undisturbed)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
