"""Connecting to a store: a new database opened by several processes at once, store names, timeouts."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from flowerml.tracking.client import connection

pytestmark = pytest.mark.no_store


def connect_at_barrier(barrier):
    barrier.wait()
    connection.connect().create_run("0")


def connect_eight_processes():
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(8)
    processes = [context.Process(target=connect_at_barrier, args=(barrier,)) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    codes = [process.exitcode for process in processes]
    if codes != [0] * 8:
        raise SystemExit(f"exit codes {codes}")


@pytest.mark.slow
def test_eight_processes_open_a_new_database_at_once(tmp_path):
    """MLflow creates its tables without a lock: without ours seven of eight fail."""
    # Forked from a fresh process: this one has threads, whose locks would stay locked in the children.
    parent = multiprocessing.get_context("spawn").Process(target=connect_eight_processes)
    parent.start()
    parent.join(180)
    assert parent.exitcode == 0
    assert len(MlflowClient().search_runs(["0"])) == 8
    assert os.listdir(tmp_path) == ["mlflow.db"], "no lock is left behind"  # noqa: PTH208


@pytest.mark.slow
@pytest.mark.repeats
@pytest.mark.parametrize("after", [0.1, 0.5, 1.0, 1.5, 2.0])
def test_a_process_killed_while_it_creates_the_tables_leaves_no_partial_database(after, tmp_path):
    """MLflow fails on a partial set of tables for ever: "table datasets already exists"."""
    creating = multiprocessing.get_context("spawn").Process(target=create_store, args=(str(tmp_path / "started"),))
    creating.start()
    while not (tmp_path / "started").exists():
        time.sleep(0.01)
    time.sleep(after)
    creating.kill()
    creating.join()
    client = connection.connect()
    client.create_run("0")
    assert len(client.search_runs(["0"])) == 1
    assert [name for name in os.listdir(tmp_path) if name not in ("started", ".mlflow.db.part")] == ["mlflow.db"]  # noqa: PTH208


def create_store(started):
    Path(started).touch()
    connection.connect()


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
def test_a_store_name_is_absolute_and_without_the_password(address, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert connection.store_name(address) == name.format(here=tmp_path)


def test_a_database_in_memory_has_no_file():
    assert connection.database_file("sqlite://") is None
    assert connection.database_file("sqlite:///:memory:") is None
    assert connection.database_file("http://host") is None


def test_the_users_request_timeout_is_kept(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "7")
    connection.set_request_timeout(5)
    assert (os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"], os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) == ("77", "0")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT")
    for seconds in (5, 30, 5):
        connection.set_request_timeout(seconds)
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == str(seconds)
