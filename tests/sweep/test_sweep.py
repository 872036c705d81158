"""`flowerml sweep` as a person types it: trials as nested runs, a table and figures, goes on, survives a killed worker."""

import json
import os
import signal
import subprocess
import sys
import time

import optuna
import psutil
import pytest
from mlflow.tracking import MlflowClient
from optuna.trial import TrialState

from flowerml.cli.main import main
from tests.conftest import ROOT
from tests.tracking.test_server import PASSWORD, postgres

__all__ = ["postgres"]

SMALL = [
    *("--model", "convnextv2_atto", "--weights", "none", "--img-size", "32", "--epochs", "2", "--warmup-epochs", "0"),
    *("--freeze-backbone-epochs", "0", "--batch-size", "16", "--data-workers", "0", "--device", "cpu"),
]


def words(flowers, root, *more):
    return ["sweep", *SMALL, "--train-dir", str(flowers), "--runs-root", str(root), *more]


def runs_of(kind):
    client = MlflowClient()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return client.search_runs(experiments, f"tags.`flowerml.kind` = '{kind}'")


def test_a_sweep_leaves_nested_runs_a_table_and_figures_and_goes_on(flowers, tmp_path, capsys):
    root = tmp_path / "runs"
    line = words(flowers, root, "--space", "grid", "--pruner", "none", "--study", "s", "--confirm", "1", "--json")
    assert main([*line, "--trials", "2"]) == 0
    out = json.loads(capsys.readouterr().out)
    trials, (parent,) = runs_of("trial"), runs_of("sweep")
    assert len(trials) == 4, "two trials, and the better one on two more seeds"
    assert parent.info.run_id == out["run_id"]
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {out["run_id"]}
    assert {run.info.status for run in (*trials, parent)} == {"FINISHED"}
    assert sorted(run.data.tags["flowerml.seed"] for run in trials) == ["11", "11", "23", "47"]
    names = {file.path for file in MlflowClient().list_artifacts(out["run_id"])}
    assert {"trials.csv", "trials.md", "history.png", "parallel.png"} <= names
    assert out["decision"]["winner"] == next(
        run.data.tags["flowerml.config_id"] for run in trials if run.info.run_id == out["best"]["run_id"]
    )
    assert (
        max(run.data.metrics["best_val_accuracy"] for run in trials if run.data.tags["flowerml.phase"] == "trials") == out["best"]["value"]
    )

    assert main([*line, "--trials", "3"]) == 0
    told = capsys.readouterr()
    assert "2 trials are done, 1 new ones queued" in told.err
    trial_runs = [run for run in runs_of("trial") if run.data.tags["flowerml.phase"] == "trials"]
    assert len(trial_runs) == 3
    assert len({run.data.tags["flowerml.config_id"] for run in trial_runs}) == 3, "each point once"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--trials", "0"], "--trials is '0'. Allowed: whole number, 1 to 100,000"),
        (["--trials", "65", "--space", "grid"], "the grid has 16 points with what is given"),
        (["--space", "random"], "choose from"),
        (["--pruner", "hyperbant"], "Did you mean hyperband"),
        (["--study", "a b"], "--study is 'a b'. Allowed"),
        (["--storage", "mongo://x"], "--storage mongo://x"),
        (["--val-split", "0"], "nothing to compare trials by"),
        (["--lr-head", "-1"], "--lr-head"),
        (["--workers", "many"], "--workers is 'many'. Allowed"),
        (["--train-dir", "nowhere"], "--train-dir nowhere: no such folder"),
    ],
)
def test_bad_input_is_one_line(flowers, tmp_path, capsys, more, said):
    assert main(words(flowers, tmp_path / "runs", *more)) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert said in told[-1]
    assert sum(line.startswith("error: ") for line in told) == 1


def test_settings_that_no_trial_can_run_stop_the_sweep(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(words(tmp_path / "empty", tmp_path / "runs", "--trials", "2")) in (1, 2)
    assert "error: " in capsys.readouterr().err


def killed_worker(flowers, tmp_path, storage):
    """Two workers on one study, one killed in its trial: the trial is tried again, and goes on where its run had come to."""
    root = tmp_path / "runs"
    line = words(flowers, root, "--trials", "5", "--workers", "2", "--study", "s", "--storage", storage, "--heartbeat-seconds", "1")
    process = subprocess.Popen(
        [sys.executable, "-m", "flowerml.cli.main", *line, "--pruner", "none", "--epochs", "3"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    while process.poll() is None and not list(root.glob("s/trial-*/history.csv")):
        time.sleep(0.02)
    assert process.poll() is None, process.stderr.read()
    claims = [json.loads(path.read_text()) for path in root.glob("s/trial-*/attempts/*/claim.json")]
    victims = [claim["pid"] for claim in claims if not claim["released"] and psutil.pid_exists(claim["pid"])]
    os.kill(victims[0], signal.SIGKILL)
    told = process.communicate(timeout=300)[1]
    assert process.returncode == 0, told
    study = optuna.load_study(study_name="s", storage=storage)
    states = [trial.state for trial in study.trials]
    assert all(state.is_finished() for state in states)
    assert states.count(TrialState.COMPLETE) == 5
    assert states.count(TrialState.FAIL) == 1
    assert len(runs_of("trial")) == 5, "the killed one went on in its own run"
    assert {run.info.status for run in runs_of("trial")} == {"FINISHED"}


@pytest.mark.slow
def test_a_killed_worker_on_sqlite(flowers, tmp_path):
    killed_worker(flowers, tmp_path, f"sqlite:///{tmp_path / 'sweeps.db'}")


@pytest.mark.slow
def test_a_killed_worker_on_postgres(flowers, tmp_path, postgres, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    killed_worker(flowers, tmp_path, f"postgresql+psycopg2://mlflow@127.0.0.1:{postgres}/mlflow")
