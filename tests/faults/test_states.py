"""Faults 9, and of 1 and 6 what MLflow shows: every run ends in the right state there, goes on as one run, and has each
point once.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from flowerml.cli.main import main
from flowerml.runs.lifecycle.run_file import read_run_file
from tests.conftest import ROOT
from tests.faults.support.nursery import RUN
from tests.faults.support.servers import all_runs, assert_delivered
from tests.faults.test_killed import assert_as_undisturbed

pytestmark = pytest.mark.slow


@pytest.mark.fault("9 a dead run that says RUNNING")
def test_a_dead_run_is_recognised_and_closed_and_still_goes_on(
    tally, nursery, pictures, undisturbed, tmp_path, monkeypatch, empty_store
):
    store = os.environ["MLFLOW_TRACKING_URI"]
    folder = tmp_path / "runs" / "out"
    with tally.trial():
        child = nursery.start(pictures, folder, {"kill_after_step": 25}, store=store)
        assert child.wait() == -signal.SIGKILL, child.log()
        assert read_run_file(folder).status == "RUNNING"
        assert main(["reap", "--runs-root", str(folder.parent)]) == 0
        assert read_run_file(folder).status == "KILLED"
        (run,) = all_runs(MlflowClient())
        assert run.info.status == "KILLED"
        assert f"process {child.pid}" in run.data.tags["flowerml.reason"]
        assert main(["reap", "--runs-root", str(folder.parent)]) == 0, "nothing is left to close"
        again = nursery.start(pictures, folder, store=store)
        assert again.wait() == 0, again.log()
        assert_as_undisturbed(folder, undisturbed)
        (run,) = all_runs(MlflowClient())
        assert run.info.status == "FINISHED", "the same run went on"
        assert_delivered(tally, MlflowClient(), folder)


@pytest.mark.fault("1 kill -9 at a random step")
def test_killed_runs_go_on_in_their_mlflow_run_without_doubled_points(tally, nursery, pictures, undisturbed, tmp_path):
    store, folder = os.environ["MLFLOW_TRACKING_URI"], tmp_path / "out"
    with tally.trial():
        stopped = nursery.start(pictures, folder, {"stop_while_opening": True}, store=store)
        assert stopped.wait() == 130, stopped.log()
        assert read_run_file(folder).status == "KILLED"
        # Steps are counted from where each try begins.
        for fault in ({"kill_once_opened": True}, *({"kill_after_step": step} for step in (8, 9, 4))):
            child = nursery.start(pictures, folder, fault, store=store)
            assert child.wait() == -signal.SIGKILL, child.log()
        again = nursery.start(pictures, folder, store=store)
        assert again.wait() == 0, again.log()
        assert_as_undisturbed(folder, undisturbed)
        assert_delivered(tally, MlflowClient(), folder)
        (run,) = all_runs(MlflowClient())
        history = MlflowClient().get_metric_history(run.info.run_id, "train_loss")
        assert [point.step for point in history] == [1, 2, 3]


@pytest.mark.fault("6 SIGTERM, SIGINT, twice, to mlflow run")
@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.repeats), signal.SIGINT])
def test_a_signal_to_mlflow_run(tally, nursery, pictures, undisturbed, tmp_path, number):
    """The launcher dies of SIGTERM and tells nobody; the training notices, keeps its state and ends KILLED in the run
    opened for it.
    """
    folder = tmp_path / "out"
    given = {
        **RUN,
        "train_dir": pictures,
        "output_dir": folder,
        "lease_seconds": 3,
        "epochs": 3,
        "checkpoint_every_steps": 3,
    }
    words = [
        word
        for name, value in given.items()
        for word in ("-P", f"{name}={str(value).lower() if isinstance(value, bool) else value}")
    ]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with tally.trial(), (tmp_path / "log").open("w") as log:
        launcher = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "run", str(ROOT), "-e", "train", "--env-manager=local", *words],
            stdout=log,
            stderr=log,
            env={**os.environ, "PATH": path},
            start_new_session=True,
        )
        end = time.monotonic() + 120
        while not list(folder.glob("state/epochs-*")):
            assert launcher.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.005)
        launcher.send_signal(number) if number == signal.SIGTERM else os.killpg(launcher.pid, number)
        launcher.wait(60)
        end = time.monotonic() + 60
        while read_run_file(folder).status == "RUNNING":
            assert time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.05)
        assert read_run_file(folder).status == "KILLED", (tmp_path / "log").read_text()
        # `mlflow run` says FAILED behind us (see flowerml.tracking.environment.launcher_status), so it may be so for a
        # moment.
        end = time.monotonic() + 60
        while (run := all_runs(MlflowClient())[0]).info.status != "KILLED" or time.monotonic() < end - 50:
            assert time.monotonic() < end, f"{run.info.status}\n{(tmp_path / 'log').read_text()}"
            time.sleep(0.2)
        assert "stopped by" in run.data.tags["flowerml.reason"] or "launcher" in run.data.tags["flowerml.reason"]
        again = nursery.start(pictures, folder, store=os.environ["MLFLOW_TRACKING_URI"])
        assert again.wait() == 0, again.log()
        assert_as_undisturbed(folder, undisturbed)
        (run,) = all_runs(MlflowClient())
        assert run.info.status == "FINISHED"
