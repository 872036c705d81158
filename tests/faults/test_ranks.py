"""A training of several processes: one that dies ends the run, which goes on with the same result."""

import signal
import time

import psutil
import pytest

from flowerml.runs.lifecycle.run_file import read_run_file
from tests.runs.interrupted_runs import left

pytestmark = [pytest.mark.fault("17 a process of several is killed"), pytest.mark.slow]
TOGETHER = {"gpus": 2, "device": "cpu", "checkpoint_every_steps": 3}


def replica(child):
    """The process that `child` has started to train with it."""
    for process in psutil.Process(child.pid).children():
        if "replica_process" in " ".join(process.cmdline()):
            return process
    return None


def has_said(child, words):
    try:
        return words in child.log()
    except FileNotFoundError:  # it has said nothing yet
        return False


def wait_for(condition, child, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert child.poll() is None, child.log()
        assert time.monotonic() < end, child.log()
        time.sleep(0.05)


def gone(pid, seconds=30):
    end = time.monotonic() + seconds
    while psutil.pid_exists(pid) and time.monotonic() < end:
        time.sleep(0.1)
    return not psutil.pid_exists(pid)


def test_killed_replica_and_killed_rank_0_and_the_result_of_one_that_was_not(tally, nursery, pictures, tmp_path):
    calm, folder = tmp_path / "calm", tmp_path / "out"
    child = nursery.start(pictures, calm, **TOGETHER)
    assert child.wait() == 0, child.log()

    with tally.trial():
        child = nursery.start(pictures, folder, **TOGETHER)
        wait_for(lambda: has_said(child, "epoch 1/"), child)
        replica(child).send_signal(signal.SIGKILL)
        assert child.wait() == 1
        assert "process 2 of 2 of this training was killed by SIGKILL; start it again" in child.log()
        assert read_run_file(folder).status == "FAILED"

    with tally.trial():
        child = nursery.start(pictures, folder, **TOGETHER)
        wait_for(lambda: has_said(child, "epoch 2/"), child)
        other = replica(child).pid
        child.send(signal.SIGKILL)
        child.wait()
        assert gone(other), "the replica outlives rank 0"

        child = nursery.start(pictures, folder, **TOGETHER)
        assert child.wait() == 0, child.log()
        assert left(folder) == left(calm)
