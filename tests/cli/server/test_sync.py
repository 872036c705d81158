"""`flowerml sync`: what a run has kept while its server was away gets to MLflow, and looks there as if it had never
been away.
"""

import shutil

import pytest
from mlflow.tracking import MlflowClient

from flowerml.cli.main import run_command
from flowerml.events import Ended, Metrics, Status
from flowerml.journal import Journal, RunStarted, read_delivered
from flowerml.runs.lifecycle.lease import acquire
from flowerml.runs.lifecycle.run_file import read_run_file
from tests.cli.bad_input import rows as bad
from tests.faults.support.servers import OF_THE_MOMENT

AWAY = "http://127.0.0.1:9"  # the discard port: nobody listens


@pytest.fixture
def here(empty_store, tmp_path, monkeypatch):
    """A working folder with a store of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path


def runs():
    client = MlflowClient()
    return client.search_runs([one.experiment_id for one in client.search_experiments()])


def kept(root, *values, ended=True):
    """A run's folder with a journal that nobody has delivered."""
    attempt = acquire(root, 60)
    journal = Journal.create(attempt.folder, RunStarted(root.name * 4, "flowers", root.name, "host"))
    for step, value in enumerate(values, start=1):
        journal.append(Metrics({"val_accuracy": value}, step))
    if ended:
        journal.append(Ended(Status.FINISHED))
    attempt.release()
    return root


def shown(run):
    """What a person sees of a run, but for what is of its moment."""
    client = MlflowClient()
    points = {
        name: [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
        if name not in OF_THE_MOMENT
    }
    tags = {
        name: text for name, text in run.data.tags.items() if name not in ("flowerml.journal", "flowerml.heartbeat")
    }
    files = sorted((entry.path, entry.is_dir) for entry in client.list_artifacts(run.info.run_id))
    data = [(one.dataset.name, one.dataset.digest) for one in run.inputs.dataset_inputs]
    name = client.get_experiment(run.info.experiment_id).name
    return run.info.run_name, run.info.status, name, run.data.params, points, tags, files, data


@pytest.mark.slow
def test_a_training_without_a_server_looks_afterwards_as_one_that_had_it(here, flowers, monkeypatch, capsys):
    (here / "flowers").symlink_to(flowers)
    assert run_command(*bad.command_of("train")) == 0
    (with_server,) = runs()
    shutil.move("out", "first")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", AWAY)
    capsys.readouterr()
    assert run_command(*bad.command_of("train")) == 0
    told = capsys.readouterr().err
    assert told.count("warning:") == 2, told
    assert "the run is FINISHED and not at MLflow yet: `flowerml sync out` delivers it" in told
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here / 'mlflow.db'}")
    assert run_command("sync", ["out"]) == 0
    told = capsys.readouterr().err
    late, first = runs()
    assert first.info.run_id == with_server.info.run_id
    assert f" events delivered to run {late.info.run_id}" in told
    assert shown(late) == shown(first)
    assert read_run_file(here / "out").run_id == late.info.run_id
    assert late.info.end_time < late.info.start_time + 3_600_000
    assert run_command("sync", ["out"]) == 0
    assert f"everything is at run {late.info.run_id} already" in capsys.readouterr().err
    assert len(runs()) == 2


def test_all_delivers_what_is_left_and_passes_over_what_is_not_a_run(here, capsys):
    for name in ("a", "b"):
        kept(here / "runs" / name, 0.1, 0.2)
    (here / "runs" / "notes").mkdir()
    assert run_command("sync", ["--all"]) == 0
    told = capsys.readouterr().err.splitlines()
    assert [line.split(" to run")[0] for line in told] == ["runs/a: 4 events delivered", "runs/b: 4 events delivered"]
    assert {run.info.run_name for run in runs()} == {"a", "b"}
    assert run_command("sync", ["--all"]) == 0
    assert capsys.readouterr().err == "runs: everything is delivered\n"


def test_what_is_left_is_said_and_the_exit_code_is_one(here, monkeypatch, capsys):
    for name in ("a", "b"):
        kept(here / "runs" / name, 0.1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", AWAY)
    assert run_command("sync", ["--all"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert (
        first
        == f"runs/a: 3 events left, 0 delivered: the MLflow tracking store {AWAY} does not answer (Connection refused):"
        " start it, or set MLFLOW_TRACKING_URI"
    )
    assert second == "runs/b: not tried, as the server does not answer"


def test_a_run_that_was_cut_off_is_delivered_and_stays_to_be_gone_on_with(here, capsys):
    kept(here / "runs" / "a", 0.1, ended=False)
    assert run_command("sync", ["runs/a"]) == 0
    told = capsys.readouterr().err
    assert "2 events delivered" in told
    assert "the run was cut off: started again it goes on, and `flowerml reap` closes it" in told
    (run,) = runs()
    assert run.info.status == "RUNNING"


def test_a_run_at_work_is_passed_over(here, capsys):
    attempt = acquire(here / "runs" / "a", 60)
    Journal.create(attempt.folder, RunStarted("a" * 32, "flowers", "a", "host"))
    assert run_command("sync", ["--all"]) == 0
    assert "runs/a: being worked on by process " in capsys.readouterr().err
    assert runs() == []
    assert read_delivered(attempt.folder).run_id == ""
    attempt.release()
    assert run_command("sync", ["--all"]) == 0
    assert len(runs()) == 1


def test_the_folds_of_a_cross_validation_are_delivered_with_the_others_and_by_their_folder(here, capsys):
    """They lie one folder deeper. `--all` said that everything was delivered."""
    for fold in (1, 2):
        kept(here / "runs" / "cv" / f"fold{fold}", 0.1)
    assert run_command("sync", ["--all"]) == 0
    told = capsys.readouterr().err.splitlines()
    assert [line.split(" to run")[0] for line in told] == [
        "runs/cv/fold1: 3 events delivered",
        "runs/cv/fold2: 3 events delivered",
    ]
    assert run_command("sync", ["runs/cv"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == ["runs/cv/fold1", "runs/cv/fold2"]
    assert len(runs()) == 2
    (here / "runs" / "empty").mkdir()
    assert run_command("sync", ["runs/empty"]) == 2
    assert "runs/empty holds no journal of a run" in capsys.readouterr().err
