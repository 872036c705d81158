"""What asks a run to stop: it ends KILLED with its reason and a checkpoint, and goes on from there as if nothing had
happened.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from flowerml.errors import LeaseLost
from flowerml.events import Ended, MemoryRecorder, Status
from flowerml.runs.lifecycle.attempts import lease_owner
from flowerml.runs.lifecycle.run_file import read_run_file
from flowerml.runs.lifecycle.stop_request import StoppedImmediately, StopRequest, graceful, watch_run
from flowerml.runs.train import run_training
from flowerml.settings import resolve
from tests.conftest import ROOT
from tests.runs.conftest import SMALL
from tests.runs.interrupted_runs import assert_whole

PROGRAM = """
    import json, os, sys, time
    from pathlib import Path
    from flowerml.errors import UserError
    from flowerml.events import Ended, MemoryRecorder
    from flowerml.log import configure_logging
    from flowerml.runs.train import run_training
    from flowerml.settings import resolve
    from torch.optim.optimizer import register_optimizer_step_post_hook

    configure_logging()

    steps = iter(range(1, 1000))

    def signal_own_group(*_):
        number, at_step = map(int, os.environ["SIGNAL"].split())
        if next(steps) == at_step:
            os.killpg(0, number)

    if "SIGNAL" in os.environ:
        register_optimizer_step_post_hook(signal_own_group)

    class Slow(MemoryRecorder):
        def record(self, event):
            super().record(event)
            if isinstance(event, Ended):
                print(f"ENDED {event.status}: {event.reason}", file=sys.stderr, flush=True)

    settings, _ = resolve(dict(word.split("=", 1) for word in sys.argv[1:]))
    pause = float(os.environ.get("PAUSE", "0"))
    try:
        run_training(settings, lambda *_: Slow("first"), on_row=lambda row: time.sleep(pause) or "")
    except KeyboardInterrupt:
        sys.exit(130)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
"""


def start(flowers, folder, environment=None, **changes):
    """The small run in a process group of its own, slowed down so that a signal meets the loop."""
    words = {**SMALL, "dropout": 0.2, "train_dir": flowers, "output_dir": folder, **changes}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), *(f"{name}={value}" for name, value in words.items())],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
    )


def wait_for_epoch(process, folder, number=1):
    while process.poll() is None and not (folder / "history.csv").exists():
        time.sleep(0.005)
    while process.poll() is None and len((folder / "history.csv").read_text().splitlines()) <= number:
        time.sleep(0.005)
    assert process.poll() is None, process.stderr.read()


@pytest.mark.parametrize(
    ("number", "reason", "workers"),
    [
        pytest.param(signal.SIGINT, "Ctrl-C", 1, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "SIGTERM", 0, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, "Ctrl-C", 0, marks=[pytest.mark.slow, pytest.mark.repeats]),
        pytest.param(signal.SIGTERM, "SIGTERM", 1, marks=[pytest.mark.slow, pytest.mark.repeats]),
    ],
)
def test_a_signal_waits_for_the_step_and_leaves_a_checkpoint(
    begin, flowers, small_run, tmp_path, capsys, number, reason, workers
):
    """To the whole group, as a terminal sends it: the processes that load pictures hear it too."""
    folder = tmp_path / "out"
    process = start(flowers, folder, {"SIGNAL": f"{number.value} 6"}, workers=workers)
    told = process.communicate(timeout=120)[1]
    assert process.returncode == 130, told
    assert f"stopping by {reason}, after this step and with a checkpoint" in told
    assert f"ENDED KILLED: stopped by {reason}" in told
    assert "Traceback" not in told
    assert read_run_file(folder).status == "KILLED"
    assert lease_owner(folder).released
    kept = sorted(path.name for path in (folder / "state").iterdir())
    assert "epochs-0001-steps-000002" in kept[-1], "of four steps an epoch, the sixth was let end"
    begin()
    assert "it goes on after" in capsys.readouterr().err
    assert_whole(folder, small_run[0])


@pytest.mark.slow
def test_a_second_signal_stops_at_once(flowers, tmp_path):
    folder = tmp_path / "out"
    process = start(flowers, folder, {"PAUSE": "30"})
    wait_for_epoch(process, folder)
    process.send_signal(signal.SIGTERM)
    time.sleep(1.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=20)[1]
    assert process.returncode == 130, told
    assert "ENDED KILLED: stopped by SIGTERM" in told
    assert read_run_file(folder).status == "KILLED"


def test_a_second_signal_right_behind_the_first_is_the_same_wish():
    """On Ctrl-C, `mlflow run` sends SIGTERM to what it has started, which the terminal has told already."""
    stopping = StopRequest()
    stopping.is_graceful = True
    stopping.on_signal(signal.SIGINT, None)
    stopping.on_signal(signal.SIGTERM, None)
    assert stopping.reason == "stopped by Ctrl-C"
    stopping._first_signal -= 1.1
    with pytest.raises(StoppedImmediately):
        stopping.on_signal(signal.SIGTERM, None)
    assert stopping.reason == "stopped by Ctrl-C"


def test_where_no_loop_asks_the_first_signal_stops_at_once():
    with pytest.raises(StoppedImmediately):
        StopRequest().on_signal(signal.SIGTERM, None)


@pytest.mark.slow
def test_a_signal_after_the_last_step_counts_too(begin, flowers, small_run, tmp_path, capsys):
    """What is left to do may take long: evaluation, figures, a test folder."""
    folder, recorder = tmp_path / "out", MemoryRecorder()
    settings, _ = resolve({**SMALL, "dropout": 0.2, "train_dir": str(flowers), "output_dir": str(folder)})

    def last(row):
        if row["epoch"] == 3:
            signal.raise_signal(signal.SIGTERM)
        return ""

    with pytest.raises(KeyboardInterrupt):
        run_training(settings, lambda *_: recorder, on_row=last)
    assert recorder.events[-1] == Ended(Status.KILLED, "stopped by SIGTERM")
    begin()
    assert "it goes on after epoch 3" in capsys.readouterr().err
    assert_whole(folder, small_run[0])


LAUNCHER = """
    import os, subprocess, sys
    process = subprocess.Popen(sys.argv[1:])
    print(process.pid, flush=True)
    process.wait()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "choice", ["stop", *(pytest.param(name, marks=pytest.mark.slow) for name in ("finish", "stop, below a shell"))]
)
def test_the_launchers_death_is_noticed(begin, flowers, small_run, tmp_path, choice):
    """It stops with a checkpoint, or finishes, by choice. Some shells stay between the launcher and the training, and
    survive.
    """
    folder = tmp_path / "out"
    choice, _, below = choice.partition(", ")
    words = {
        **SMALL,
        "dropout": 0.2,
        "train_dir": flowers,
        "output_dir": folder,
        "on_launcher_death": choice,
        "lease_seconds": 3,
    }
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), *(f"{name}={value}" for name, value in words.items())]
    if below:
        command = ["bash", "-c", f"{shlex.join(command)}; true"]
    with (tmp_path / "log").open("w") as log:
        launcher = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(LAUNCHER), *command],
            cwd=ROOT,
            stderr=log,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_RUN_ID": "0" * 32, "PAUSE": "1.0"},
        )
    launcher.stdout.readline()
    wait_for_epoch(launcher, folder)
    launcher.kill()
    launcher.wait()
    deadline = time.monotonic() + 60
    while not (lease_owner(folder).released or lease_owner(folder).is_dead) and time.monotonic() < deadline:
        time.sleep(0.05)
    told = (tmp_path / "log").read_text()
    if choice == "stop":
        assert read_run_file(folder).status == "KILLED", told
        assert "ENDED KILLED: its launcher (mlflow run) died" in told
        begin()
    assert_whole(folder, small_run[0])


@pytest.mark.slow
def test_a_run_that_was_taken_over_ends_without_a_word(flowers, tmp_path):
    """Neither to MLflow nor to the folder: both are the other process's now."""
    folder = tmp_path / "out"
    process = start(flowers, folder, {"PAUSE": "2"}, lease_seconds=1)
    wait_for_epoch(process, folder)
    attempt = folder / "attempts" / "0001"
    attempt.rename(attempt.with_name("0001.fenced"))
    before = json.loads((folder / "run.json").read_text())
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 1, told
    assert "another process has taken" in told
    assert "ENDED" not in told
    assert json.loads((folder / "run.json").read_text()) == before
    assert not attempt.exists()


def test_signs_of_life_are_given_until_the_attempt_is_fenced():
    stopping, beats = StopRequest(), []

    def beat():
        beats.append(time.monotonic())
        if len(beats) == 3:
            raise LeaseLost("another process has taken it over")
        if len(beats) == 2:
            raise OSError(28, "No space left on device")

    with watch_run(beat, 0.02, stopping, None):
        deadline = time.monotonic() + 10
        while len(beats) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
    assert len(beats) == 3
    with pytest.raises(LeaseLost):
        _ = stopping.reason


def test_a_wait_is_interrupted_by_a_first_signal():
    stop = StopRequest()
    with graceful(stop):
        with pytest.raises(StoppedImmediately), stop.interruptible():
            stop.on_signal(signal.SIGINT, None)
        assert stop.is_graceful
        assert stop.reason == "stopped by Ctrl-C"
        with pytest.raises(StoppedImmediately), stop.interruptible():
            pytest.fail("a stop was requested before")
