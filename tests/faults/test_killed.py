"""Faults 1, 2, 6, 11: killed, stopped, asked to stop. What is started again ends as what nothing has happened to."""

import random
import signal
import time

import pytest

from flowerml.runs.lifecycle.run_file import read_run_file
from tests.runs.interrupted_runs import left
from tests.runs.lifecycle.lease_processes import SLEEPER, start

pytestmark = pytest.mark.slow

STATE_BYTES = 5_000_000  # a little less than a checkpoint of the small model takes


def assert_as_undisturbed(folder, undisturbed):
    assert left(folder) == left(undisturbed)
    assert read_run_file(folder).status == "FINISHED"
    assert not (folder / "state").exists()
    assert not [path for path in folder.rglob("*") if path.name.endswith(".part")]


def killed_and_resumed(tally, nursery, pictures, undisturbed, folder, fault):
    with tally.trial():
        child = nursery.start(pictures, folder, fault)
        assert child.wait() == -(signal.SIGXFSZ if "byte" in fault else signal.SIGKILL), child.log()
        assert read_run_file(folder).status == "RUNNING"
        again = nursery.start(pictures, folder)
        assert again.wait() == 0, again.log()
        assert_as_undisturbed(folder, undisturbed)


def at_random_steps(tally, nursery, pictures, undisturbed, tmp_path, seeds):
    for seed in seeds:
        step = random.Random(seed).randrange(1, 30)
        killed_and_resumed(tally, nursery, pictures, undisturbed, tmp_path / str(seed), {"kill_after_step": step})


@pytest.mark.fault("1 kill -9 at a random step")
def test_killed_at_random_steps(tally, nursery, pictures, undisturbed, tmp_path):
    at_random_steps(tally, nursery, pictures, undisturbed, tmp_path, range(2))


@pytest.mark.repeats
@pytest.mark.fault("1 kill -9 at a random step")
def test_killed_at_eighteen_more_random_steps(tally, nursery, pictures, undisturbed, tmp_path):
    at_random_steps(tally, nursery, pictures, undisturbed, tmp_path, range(2, 20))


def inside_the_write(tally, nursery, pictures, undisturbed, tmp_path, seeds):
    """SIGXFSZ ends the process when its file reaches this byte, as abruptly as SIGKILL would, and at exactly this
    place.
    """
    for seed in seeds:
        draw = random.Random(100 + seed)
        fault = {"at_save": draw.randrange(2, 9), "byte": draw.randrange(0, STATE_BYTES) if seed else 0}
        killed_and_resumed(tally, nursery, pictures, undisturbed, tmp_path / str(seed), fault)


@pytest.mark.fault("2 kill inside the checkpoint write")
@pytest.mark.parametrize("moment", ["before", pytest.param("after", marks=pytest.mark.slow)])
def test_killed_before_and_after_the_rename(tally, nursery, pictures, undisturbed, tmp_path, moment):
    killed_and_resumed(tally, nursery, pictures, undisturbed, tmp_path / "out", {"at_save": 3, "rename": moment})


@pytest.mark.fault("2 kill inside the checkpoint write")
def test_killed_inside_the_write(tally, nursery, pictures, undisturbed, tmp_path):
    inside_the_write(tally, nursery, pictures, undisturbed, tmp_path, range(2))


@pytest.mark.repeats
@pytest.mark.fault("2 kill inside the checkpoint write")
def test_killed_inside_the_write_at_eighteen_more_bytes(tally, nursery, pictures, undisturbed, tmp_path):
    inside_the_write(tally, nursery, pictures, undisturbed, tmp_path, range(2, 20))


@pytest.mark.fault("6 SIGTERM, SIGINT, twice, to mlflow run")
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_asked_to_stop(tally, nursery, pictures, undisturbed, tmp_path, number):
    folder = tmp_path / "out"
    with tally.trial():
        child = nursery.start(pictures, folder, epochs=3)
        while not (folder / "history.csv").exists():
            assert child.poll() is None, child.log()
            time.sleep(0.005)
        child.send(number)
        assert child.wait() == 130, child.log()
        assert "ENDED KILLED: stopped by" in child.log()
        assert read_run_file(folder).status == "KILLED"
        again = nursery.start(pictures, folder)
        assert again.wait() == 0, again.log()
        assert "ended KILLED; it goes on after" in again.log()
        assert_as_undisturbed(folder, undisturbed)


@pytest.mark.fault("11 stopped past its lease, then woken")
def test_stopped_past_its_lease_and_woken(tally, nursery, pictures, undisturbed, tmp_path):
    """A second process takes the run over and finishes it; the first one wakes in the middle of that and changes
    nothing.
    """
    folder = tmp_path / "out"
    with tally.trial():
        child = nursery.start(pictures, folder, lease_seconds=1)
        while not (folder / "history.csv").exists():
            assert child.poll() is None, child.log()
            time.sleep(0.005)
        child.send(signal.SIGSTOP)
        refused = nursery.start(pictures, folder, lease_seconds=1)
        assert refused.wait() == 2
        assert f"is being worked on by process {child.pid}" in refused.log()
        time.sleep(1.2)
        taken = nursery.start(pictures, folder, lease_seconds=1)
        while not list(folder.glob("attempts/0001.fenced")):
            assert taken.poll() is None, taken.log()
            time.sleep(0.005)
        child.send(signal.SIGCONT)
        assert child.wait() == 1, child.log()
        assert "another process has taken" in child.log()
        assert "ENDED" not in child.log()
        assert taken.wait() == 0, taken.log()
        assert_as_undisturbed(folder, undisturbed)


@pytest.mark.repeats
@pytest.mark.fault("11 stopped past its lease, then woken")
def test_stopped_in_the_midst_of_writing(tally, tmp_path):
    """A process that does nothing but write, stopped twenty times at another moment."""
    from flowerml.files import write_text
    from flowerml.runs.lifecycle.lease import acquire, fenced_writes

    for trial in range(20):
        folder = tmp_path / str(trial)
        with tally.trial():
            sleeper = start(SLEEPER, folder)
            while not (folder / "best.pth").exists():
                time.sleep(0.005)
            time.sleep(random.Random(trial).random() * 0.05)
            sleeper.send_signal(signal.SIGSTOP)
            time.sleep(1.1)
            with fenced_writes(acquire(folder, 1)):
                write_text(folder / "best.pth", "the other's")
                sleeper.send_signal(signal.SIGCONT)
                out, err = sleeper.communicate(timeout=30)
                assert "another process has taken" in out, err
                assert (folder / "best.pth").read_text() == "the other's"
