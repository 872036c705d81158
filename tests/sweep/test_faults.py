"""A sweep whose workers, commands and databases are killed: every trial comes to its end, and each counts once."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from contextlib import closing, suppress

import optuna
import psutil
import pytest
from optuna.trial import TrialState
from sqlalchemy import make_url

from flowerml.sweep.trials import requested_trials
from tests.conftest import ROOT
from tests.sweep.commands import runs_of, sweep_args
from tests.tracking.compose_server import PASSWORD, postgres
from tests.tracking.postgres_databases import away, new_database

__all__ = ["postgres"]

pytestmark = pytest.mark.slow
SECONDS = 400


class Sweep:
    """The command, in processes of its own, on one study."""

    def __init__(self, flowers, root, storage):
        self.flowers, self.root, self.storage = flowers, root, storage
        self.killed = None

    def begin(self, *more):
        line = sweep_args(
            self.flowers,
            self.root,
            "--study",
            "s",
            "--storage",
            self.storage,
            "--heartbeat-seconds",
            "2",
            "--pruner",
            "none",
            *more,
        )
        return subprocess.Popen(
            [sys.executable, "-m", "flowerml.cli.main", *line, "--epochs", "3"],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )

    def until_trained(self, process, epochs=1, trials=1):
        """Wait until some trials under way have so many epochs behind them."""
        self.wait_for(process, lambda: len([at for at in self.under_way() if self.epochs(at) >= epochs]) >= trials)

    def wait_for(self, process, what):
        end = time.monotonic() + SECONDS
        while not what():
            if process.poll() is not None or time.monotonic() > end:
                process.kill()
                pytest.fail(f"it did not happen (exit code {process.poll()}):\n{process.stderr.read()[-3000:]}")
            time.sleep(0.02)

    def under_way(self):
        """The numbers of the processes that train, by the folder of the trial."""
        found = {}
        for path in self.root.glob("s-trial-*/attempts/*/claim.json"):
            try:
                claim = json.loads(path.read_text())
            except (OSError, ValueError):
                continue
            if not claim["released"] and psutil.pid_exists(claim["pid"]):
                found[path.parents[2]] = claim["pid"]
        return found

    def kill_within_a_trial(self):
        """Kill a worker in a trial's second or third epoch; `killed` is its folder. Returns whether one was there.

        It is stopped before: since it was looked at it may have ended that trial, and begun another without parameters.
        """
        for folder, pid in self.under_way().items():
            os.kill(pid, signal.SIGSTOP)
            if self.under_way().get(folder) == pid and 1 <= self.epochs(folder) < 3:
                os.kill(pid, signal.SIGKILL)
                self.killed = folder
                return True
            os.kill(pid, signal.SIGCONT)
        return False

    @staticmethod
    def epochs(folder):
        history = folder / "history.csv"
        return max(0, len(history.read_text().splitlines()) - 1) if history.exists() else 0

    def end_of(self, process, code=0):
        told = process.communicate(timeout=SECONDS)[1]
        assert process.returncode == code, told
        assert "Traceback" not in told
        return told

    def must_be_whole(self, trials, tries):
        """As many trials as asked for, all completed after so many tries or more, each one run, under the one run of
        the sweep.
        """
        study = optuna.load_study(study_name="s", storage=self.storage)
        assert all(trial.state.is_finished() for trial in study.trials)
        done = requested_trials(study.trials)
        assert len(done) == trials
        assert {trial.state for trial in done.values()} == {TrialState.COMPLETE}
        assert {len(trial.intermediate_values) for trial in done.values()} == {3}, (
            "epochs before the death are known to the study too"
        )
        # On a machine that is busy with other things a living trial may be taken for dead, and be given to another
        # worker.
        assert len([trial for trial in study.trials if trial.params]) >= tries, "\n".join(
            f"{trial.number} {trial.state.name} {trial.params} {trial.user_attrs} {trial.system_attrs}"
            for trial in study.trials
        )
        runs, (parent,) = runs_of("trial"), runs_of("sweep")
        assert len(runs) == trials, "what was killed went on in its own run"
        assert {run.info.status for run in (*runs, parent)} == {"FINISHED"}
        assert {run.data.tags["mlflow.parentRunId"] for run in runs} == {parent.info.run_id}
        assert {trial.user_attrs["run_id"] for trial in done.values()} == {run.info.run_id for run in runs}


@pytest.fixture
def on_sqlite(flowers, tmp_path):
    return Sweep(flowers, tmp_path / "runs", f"sqlite:///{tmp_path / 'sweeps.db'}")


@pytest.fixture
def on_postgres(flowers, tmp_path, postgres, monkeypatch):
    """With a database of its own on the server of the session: studies have one name here."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    return Sweep(flowers, tmp_path / "runs", new_database(postgres, f"sweep_{uuid.uuid4().hex}"))


def kill_a_worker(sweep):
    process = sweep.begin("--trials", "5", "--workers", "2")
    sweep.wait_for(process, sweep.kill_within_a_trial)
    told = sweep.end_of(process)
    assert "was killed by signal 9; another one takes its place" in told
    sweep.must_be_whole(trials=5, tries=6)
    assert len(list((sweep.killed / "attempts").iterdir())) >= 1


def test_a_killed_worker_on_sqlite(on_sqlite):
    kill_a_worker(on_sqlite)


def test_a_killed_worker_on_postgres(on_postgres):
    kill_a_worker(on_postgres)


def test_a_killed_command_leaves_no_worker_behind_and_goes_on_when_started_again(on_sqlite):
    process = on_sqlite.begin("--trials", "4", "--workers", "2")
    on_sqlite.until_trained(process, epochs=1)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive, "they stop, with a checkpoint"
    again = on_sqlite.begin("--trials", "4", "--workers", "2")
    told = on_sqlite.end_of(again)
    assert "newly queued" in told
    on_sqlite.must_be_whole(trials=4, tries=5)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.repeats)])
def test_a_stopped_command_goes_on_where_its_trials_were(on_sqlite, number):
    process = on_sqlite.begin("--trials", "3", "--workers", "2")
    on_sqlite.until_trained(process, epochs=1)
    stopped = on_sqlite.under_way()
    process.send_signal(number)
    on_sqlite.end_of(process, 130)
    (parent,) = runs_of("sweep")
    assert parent.info.status == "KILLED"
    assert all(folder.joinpath("state").is_dir() for folder in stopped if on_sqlite.epochs(folder) < 3), (
        "with a checkpoint"
    )
    on_sqlite.end_of(on_sqlite.begin("--trials", "3"))
    on_sqlite.must_be_whole(trials=3, tries=3 + len(stopped))
    assert "flowerml.reason" not in runs_of("sweep")[0].data.tags


def test_two_commands_that_begin_together_are_one_sweep(on_sqlite):
    both = [on_sqlite.begin("--trials", "6") for _ in range(2)]
    for process in both:
        on_sqlite.end_of(process)
    on_sqlite.must_be_whole(trials=6, tries=6)


def test_a_worker_that_slept_through_its_time_does_no_harm(on_sqlite):
    """Stopped for longer than three heartbeats, its trial is given to another one, which waits for the run's lease."""
    process = on_sqlite.begin("--trials", "3", "--workers", "2")
    on_sqlite.until_trained(process, epochs=1)
    pid = next(pid for at, pid in on_sqlite.under_way().items() if on_sqlite.epochs(at) >= 1)
    _put_to_sleep(pid, make_url(on_sqlite.storage).database)
    try:
        on_sqlite.wait_for(process, lambda: any(trial.state is TrialState.FAIL for trial in _tries(on_sqlite)))
        time.sleep(3)
    finally:
        os.kill(pid, signal.SIGCONT)
    on_sqlite.end_of(process)
    on_sqlite.must_be_whole(trials=3, tries=4)


def test_a_database_that_goes_away_for_a_while_is_waited_for(on_postgres):
    """Trainings go on meanwhile: what could not be told is found in their folders."""
    process = on_postgres.begin("--trials", "4", "--workers", "2")
    on_postgres.until_trained(process, epochs=1)
    with away(on_postgres.storage) as cut:
        assert cut > 0
        time.sleep(10)
    told = on_postgres.end_of(process)
    assert "does not answer" in told
    assert PASSWORD not in told
    on_postgres.must_be_whole(trials=4, tries=4)


def _put_to_sleep(pid, database):
    """Stop a process where it does not hold the lock on an SQLite file: with that it would stop everybody."""
    for _ in range(100):
        os.kill(pid, signal.SIGSTOP)
        with closing(sqlite3.connect(database, timeout=5)) as asking, suppress(sqlite3.OperationalError):
            asking.execute("BEGIN IMMEDIATE")
            asking.rollback()
            return
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.05)
    pytest.fail("it holds the lock all the time")


def _tries(sweep):
    return optuna.load_study(study_name="s", storage=sweep.storage).trials
