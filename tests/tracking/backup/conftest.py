"""A filled SQLite store with accounts, as `flowerml serve` has them, and the commands in its folder."""

import contextlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from flowerml.cli.main import run_command
from tests.tracking.backup.stores import fill


@pytest.fixture(scope="module")
def filled(empty_store, tmp_path_factory):
    """A folder with `mlflow.db`, `mlartifacts` and `mlflow-users.db`; copied by the fixture `site`."""
    folder = tmp_path_factory.mktemp("filled")
    shutil.copy(empty_store, folder / "mlflow.db")
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:  # as in a store that `flowerml serve` made
        store.execute("UPDATE experiments SET artifact_location = 'mlflow-artifacts:/0' WHERE experiment_id = 0")
        store.commit()
    fill(f"sqlite:///{folder / 'mlflow.db'}", folder / "mlartifacts")
    with closing(sqlite3.connect(folder / "mlflow-users.db")) as users:
        users.execute("CREATE TABLE users (name TEXT)")
        users.execute("INSERT INTO users VALUES ('admin')")
        users.commit()
    return folder


@pytest.fixture
def site(filled, monkeypatch):
    """The filled folder, as the working folder; what a test changes in it, it mends."""
    monkeypatch.chdir(filled)
    return filled


@pytest.fixture
def command(capsys):
    """Runs `flowerml backup` or `restore`; gives the exit code and what it said on stderr."""

    def run(name, *words):
        capsys.readouterr()
        code = run_command(name, [str(word) for word in words])
        out, said = capsys.readouterr()
        assert out == ""
        return code, said

    return run


@pytest.fixture(scope="module")
def whole(filled, tmp_path_factory):
    """A sound backup as a folder, to be copied and damaged."""
    folder = tmp_path_factory.mktemp("whole") / "backup"
    with contextlib.chdir(filled):
        assert run_command("backup", ["--output", str(folder)]) == 0
    return folder


@pytest.fixture
def backup(whole, tmp_path):
    """A copy of the sound backup."""
    return Path(shutil.copytree(whole, tmp_path / "backup"))
