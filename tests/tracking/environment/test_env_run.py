"""Only a run that `mlflow run` has opened for this process is written into; any other is left alone."""

import os
import shutil

import pytest
from mlflow.tracking import MlflowClient

from flowerml.events import Ended, Metrics, Status
from flowerml.tracking import ignore_foreign_env_run, note_failure, start_child_run
from flowerml.tracking.environment.env_run import own_env_run_id
from flowerml.tracking.search.campaigns import open_campaign
from flowerml.tracking.search.sweeps import open_sweep
from tests.tracking.delivery.helpers import attempt_folder, settings
from tests.tracking.opened_runs import PROJECT_TAGS, open_run

OURS = {"flowerml.kind": "train", "flowerml.seed": "11", "flowerml.journal": "of another run"}
FOREIGN = {
    "a training that has ended": (OURS, "FINISHED", "is a run of flowerml already (old, FINISHED)"),
    "a training under mlflow run": (OURS | PROJECT_TAGS, "RUNNING", "is a run of flowerml already (old, RUNNING)"),
    "a launcher": (
        {"flowerml.kind": "launcher", "flowerml.continues": "", **PROJECT_TAGS},
        "RUNNING",
        "is a run of flowerml already",
    ),
    "another program's": ({}, "RUNNING", "is a run that `mlflow run` has not opened (old, RUNNING)"),
    "an ended project": (PROJECT_TAGS, "FAILED", "is a run that has ended (old, FAILED)"),
}


def train(start, root):
    recorder = start(settings(), "flowers", "new")
    recorder.record(Metrics({"val_accuracy": 0.5}, 1))
    recorder.record(Ended(Status.KILLED, "stopped by Ctrl-C"))
    recorder.close()
    return recorder.run_id


def resume(start, root):
    opened = os.environ.pop("MLFLOW_RUN_ID")
    train(start, root)
    os.environ["MLFLOW_RUN_ID"] = opened
    recorder = start(settings(), "flowers", "new", attempt_folder(root, 1))
    recorder.record(Ended(Status.FAILED, "why"))
    recorder.close()
    return recorder.run_id


def evaluate(start, root):
    return start_child_run(None, "flowers", "eval", "eval").run_id


def campaign(start, root):
    opened = open_campaign("c", "campaign", "flowers", {})
    opened.end_launcher("FAILED", 1)
    return opened.recorder.run_id


def sweep(start, root):
    opened = open_sweep("s", "sweep", "flowers", {})
    opened.end_launcher("FAILED", 1)
    return opened.recorder.run_id


def fail(start, root):
    note_failure("a wrong flag")
    return "none"


@pytest.fixture
def client(empty_store, tmp_path):
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return MlflowClient()


def state(client, run_id):
    run = client.get_run(run_id)
    return run.info.status, run.info.end_time, run.info.run_name, run.data.tags, run.data.params, run.data.metrics


@pytest.mark.slow
@pytest.mark.parametrize("command", [train, resume, evaluate, campaign, sweep, fail], ids=lambda one: one.__name__)
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_run_that_was_not_opened_for_it_is_left_alone(client, start, tmp_path, monkeypatch, capsys, kind, command):
    tags, status, reason = FOREIGN[kind]
    foreign = client.create_run("0", run_name="old", tags=tags).info.run_id
    client.log_param(foreign, "model", "convnextv2_atto")
    if status != "RUNNING":
        client.set_terminated(foreign, status, end_time=1_000)
    before = state(client, foreign)
    monkeypatch.setenv("MLFLOW_RUN_ID", foreign)
    assert command(start, tmp_path / "run") not in (foreign, "")
    assert state(client, foreign) == before
    warned = [line for line in capsys.readouterr().err.splitlines() if "MLFLOW_RUN_ID" in line]
    assert len(warned) == 1, "told once"
    assert f"MLFLOW_RUN_ID {foreign} {reason}" in warned[0]
    assert warned[0].endswith("it is left as it is, and a run of its own is made (unset MLFLOW_RUN_ID)")
    assert "MLFLOW_RUN_ID" not in os.environ, "nothing later in this process takes it for its own"


def test_the_run_of_mlflow_run_stays_its_own_while_the_process_writes_into_it(client, start, monkeypatch, capsys):
    opened = open_run(client, monkeypatch)
    recorder = start(settings(), "ignored", "x")
    recorder.record(Ended(Status.FAILED, "why"))
    recorder.close()
    note_failure("why, in full")
    assert recorder.run_id == own_env_run_id() == opened
    assert client.get_run(opened).data.tags["flowerml.reason"] == "why, in full"
    assert "MLFLOW_RUN_ID" not in capsys.readouterr().err


def test_a_command_ignores_another_run_before_it_acts_on_the_variable(client, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", client.create_run("0", tags=OURS).info.run_id)
    ignore_foreign_env_run()
    assert "MLFLOW_RUN_ID" not in os.environ
    opened = open_run(client, monkeypatch)
    ignore_foreign_env_run()
    assert os.environ["MLFLOW_RUN_ID"] == opened


def test_a_command_decides_nothing_while_the_store_is_away(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    ignore_foreign_env_run()
    assert (os.environ["MLFLOW_RUN_ID"], own_env_run_id()) == ("0" * 32, None)
