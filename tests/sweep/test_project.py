"""The sweep as an MLflow Project entry: its run is the one `mlflow run` has opened, and trials hang under it."""

import subprocess
import sys

import pytest
from mlflow.tracking import MlflowClient

from tests.cli.test_commands import ROOT, environment

GIVEN = {
    **{
        "model": "convnextv2_atto",
        "weights": "none",
        "img_size": 32,
        "epochs": 1,
        "warmup_epochs": 0,
        "freeze_backbone_epochs": 0,
    },
    **{"batch_size": 16, "data_workers": 0, "study": "s"},
}


def mlflow_run(flowers, root, trials):
    given = {**GIVEN, "train_dir": flowers, "runs_root": root, "trials": trials}
    words = [word for name, value in given.items() for word in ("-P", f"{name}={value}")]
    line = [sys.executable, "-m", "mlflow", "run", str(ROOT), "-e", "sweep", "--env-manager=local", *words]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def found(kind=None):
    client = MlflowClient()
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert {run.info.status for run in runs} == {"FINISHED"}
    return [run for run in runs if kind is None or run.data.tags["flowerml.kind"] == kind]


@pytest.mark.slow
def test_mlflow_run_sweep_and_again_for_more(flowers, tmp_path):
    mlflow_run(flowers, tmp_path / "runs", 2)
    (parent,), trials = found("sweep"), found("trial")
    assert len(trials) == 2
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {parent.info.run_id}
    assert {run.info.experiment_id for run in found()} == {parent.info.experiment_id}, (
        "else the UI does not show them as nested"
    )
    assert parent.data.params["trials"] == "2"

    mlflow_run(flowers, tmp_path / "runs", 3)
    (again,), (launcher,) = found("sweep"), found("launcher")
    assert again.info.run_id == parent.info.run_id
    assert launcher.data.tags["flowerml.continues"] == parent.info.run_id
    assert not launcher.data.metrics
    assert len(found("trial")) == 3
    assert {run.data.tags["mlflow.parentRunId"] for run in found("trial")} == {parent.info.run_id}
