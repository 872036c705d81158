"""The sweep as an MLflow Project entry: its run is the one `mlflow run` has opened, and trials hang under it."""

import subprocess
import sys

import pytest
from mlflow.tracking import MlflowClient

from tests.cli.test_commands import ROOT, environment


@pytest.mark.slow
def test_mlflow_run_sweep(flowers, tmp_path):
    given = {
        **{"model": "convnextv2_atto", "trials": 2, "train_dir": flowers, "weights": "none", "img_size": 32, "epochs": 1},
        **{
            "warmup_epochs": 0,
            "freeze_backbone_epochs": 0,
            "batch_size": 16,
            "data_workers": 0,
            "runs_root": tmp_path / "runs",
            "study": "s",
        },
    }
    words = [word for name, value in given.items() for word in ("-P", f"{name}={value}")]
    line = [sys.executable, "-m", "mlflow", "run", str(ROOT), "-e", "sweep", "--env-manager=local", *words]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    client = MlflowClient()
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    (parent,) = [run for run in runs if run.data.tags["flowerml.kind"] == "sweep"]
    trials = [run for run in runs if run.data.tags["flowerml.kind"] == "trial"]
    assert len(trials) == 2
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {parent.info.run_id}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert parent.data.params["trials"] == "2"
