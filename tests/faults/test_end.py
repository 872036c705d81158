"""Fault 17: a signal in the instant in which a run is FINISHED. It stays FINISHED, without what it had on its way."""

import os
import signal

import pytest
from mlflow.tracking import MlflowClient

from flowerml.cli.main import main
from flowerml.journal import Journal, find_journals
from flowerml.prediction import load_network
from flowerml.runs.lifecycle.run_file import read_run_file
from tests.faults.support.servers import all_runs, assert_delivered

pytestmark = [pytest.mark.fault("17 a signal while FINISHED is written"), pytest.mark.slow]
SHORT = {"epochs": 1, "warmup_epochs": 0, "freeze_backbone_epochs": 0}


def assert_finished(folder):
    assert read_run_file(folder).status == "FINISHED"
    assert not (folder / "state").exists()
    assert not [path for path in folder.rglob("*") if path.name.endswith(".part")]
    assert sorted(path.name for path in (folder / "attempts").iterdir()) == ["0001"]
    load_network(folder / "best.pth")


@pytest.mark.parametrize("moment", ["written", "told", "removing"])
def test_a_request_to_stop_comes_too_late(tally, nursery, pictures, tmp_path, moment):
    """The process ends as it was asked to, once its run is complete: there is nothing to go on with."""
    with tally.trial():
        child = nursery.start(pictures, tmp_path / "out", {"at_end": moment, "signal": signal.SIGTERM}, **SHORT)
        assert child.wait() == 130, child.log()
        assert "ENDED FINISHED" in child.log()
        assert_finished(tmp_path / "out")


@pytest.mark.parametrize("moment", ["written", "removing"])
def test_what_a_kill_leaves_goes_with_the_same_command(tally, nursery, pictures, tmp_path, moment):
    """That command is refused all the same: the run is finished."""
    folder = tmp_path / "out"
    with tally.trial():
        child = nursery.start(pictures, folder, {"at_end": moment, "signal": signal.SIGKILL}, **SHORT)
        assert child.wait() == -signal.SIGKILL, child.log()
        assert read_run_file(folder).status == "FINISHED"
        assert (folder / "state").is_dir(), "the signal has come too late to leave anything"
        again = nursery.start(pictures, folder, **SHORT)
        assert again.wait() == 2, again.log()
        assert "holds the finished run of just these settings" in again.log()
        assert_finished(folder)


@pytest.mark.parametrize("command", ["reap", "sync"])
def test_what_a_kill_leaves_goes_with_reap_and_with_sync(tally, nursery, pictures, tmp_path, empty_store, command):
    """MLflow has all of the run then, its end too."""
    folder = tmp_path / "runs" / "out"
    with tally.trial():
        fault = {"at_end": "written", "signal": signal.SIGKILL}
        child = nursery.start(pictures, folder, fault, store=os.environ["MLFLOW_TRACKING_URI"], **SHORT)
        assert child.wait() == -signal.SIGKILL, child.log()
        assert main([command, *(["--runs-root", str(folder.parent)] if command == "reap" else [str(folder)])]) == 0
        assert Journal(find_journals(folder)[-1]).ended.status == "FINISHED"
        assert read_run_file(folder).status == "FINISHED"
        assert not (folder / "state").exists()
        assert_delivered(tally, MlflowClient(), folder)
        (run,) = all_runs(MlflowClient())
        assert run.info.status == "FINISHED"
