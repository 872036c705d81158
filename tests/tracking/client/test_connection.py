"""The first contact with a store: a fresh database met by several at once, and what a store is called."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from flowerml.tracking.client import connection as store


def meet(barrier):
    barrier.wait()
    store.connect().create_run("0")


def eight_meet():
    processes = multiprocessing.get_context("fork")
    barrier = processes.Barrier(8)
    started = [processes.Process(target=meet, args=(barrier,)) for _ in range(8)]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
    codes = [process.exitcode for process in started]
    if codes != [0] * 8:
        raise SystemExit(f"exit codes {codes}")


def test_eight_processes_meet_on_a_fresh_database_and_none_crashes(tmp_path):
    """MLflow makes its tables without a lock: without ours seven of eight fail."""
    # Forked from a fresh process: the tests' own has threads, of servers too, and a fork never lets go of a lock that
    # one of them held.
    parent = multiprocessing.get_context("spawn").Process(target=eight_meet)
    parent.start()
    parent.join(180)
    assert parent.exitcode == 0
    assert len(MlflowClient().search_runs(["0"])) == 8
    assert os.listdir(tmp_path) == ["mlflow.db"], "no lock is left behind"  # noqa: PTH208


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.1, 0.5, 1.0, 1.5, 2.0])
def test_a_process_that_is_killed_while_it_makes_the_tables_leaves_no_half_database(after, tmp_path):
    """MLflow can't go on with some of its tables: "table datasets already exists", for ever."""
    making = multiprocessing.get_context("spawn").Process(target=make_a_store, args=(str(tmp_path / "begun"),))
    making.start()
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)
    time.sleep(after)
    making.kill()
    making.join()
    client = store.connect()
    client.create_run("0")
    assert len(client.search_runs(["0"])) == 1
    assert [name for name in os.listdir(tmp_path) if name not in ("begun", ".mlflow.db.part")] == ["mlflow.db"]  # noqa: PTH208


def make_a_store(begun):
    Path(begun).touch()
    store.connect()


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("sqlite:///mlflow.db", "sqlite:///{here}/mlflow.db"),
        ("sqlite:////srv/a@b.db", "sqlite:////srv/a@b.db"),
        ("http://team:secret@host:5000/", "http://***@host:5000"),
        ("http://host:5000", "http://host:5000"),
        ("postgresql+psycopg2://team:secret@host/db", "postgresql+psycopg2://***@host/db"),
    ],
)
def test_a_store_is_called_the_same_from_everywhere_and_without_its_password(address, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert store.store_name(address) == name.format(here=tmp_path)


def test_a_database_in_memory_has_no_file():
    assert store.database_file("sqlite://") is None
    assert store.database_file("sqlite:///:memory:") is None
    assert store.database_file("http://host") is None


def test_how_long_an_answer_is_waited_for_is_the_users_choice_before_ours(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "7")
    store.set_request_timeout(5)
    assert (os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"], os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) == ("77", "0")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT")
    for seconds in (5, 30, 5):
        store.set_request_timeout(seconds)
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == str(seconds)
