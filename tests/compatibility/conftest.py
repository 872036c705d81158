"""Unpacks `made_by_0_1_0.tar.xz`, and puts the place where it lies now into what names the place where it was made.

Absolute paths of that place stand in the SQLite stores (artifact locations) and in each journal's `delivered.json`
(which store has it); nothing else that was written is touched.
"""

import json
import shutil
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from tests.compatibility.earlier import Earlier

ARCHIVE = Path(__file__).with_name("made_by_0_1_0.tar.xz")


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory):
    """The archive's content as it was made: not to be changed."""
    root = tmp_path_factory.mktemp("earlier")
    with tarfile.open(ARCHIVE) as tar:
        tar.extractall(root, filter="data")
    return root


@pytest.fixture(scope="session")
def expected(unpacked):
    """What the earlier version was asked for, and what it answered."""
    return json.loads((unpacked / "expected.json").read_text())


@pytest.fixture
def team(unpacked, expected, tmp_path, monkeypatch):
    """A working folder of the earlier version: store, runs and delivery."""
    return _moved(unpacked, "team", expected, tmp_path, monkeypatch)


@pytest.fixture
def campaign(unpacked, expected, tmp_path, monkeypatch):
    """A working folder of the earlier version in which a campaign was killed."""
    return _moved(unpacked, "campaign", expected, tmp_path, monkeypatch)


def _moved(unpacked, name, expected, tmp_path, monkeypatch):
    root = tmp_path / "earlier"
    for part in ("data", "weights", name):
        shutil.copytree(unpacked / part, root / part)
    folder = root / name
    _rename_in_store(folder / "mlflow.db", expected["made_at"], str(root))
    for path in folder.rglob("delivered.json"):
        path.write_text(path.read_text().replace(expected["made_at"], str(root)))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    return Earlier(folder, expected[name])


def _rename_in_store(file, before, after):
    with closing(sqlite3.connect(file)) as store:
        tables = [name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for column in [row[1] for row in store.execute(f'PRAGMA table_info("{table}")')]:
                change = (
                    f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) WHERE typeof("{column}") = \'text\''
                )
                store.execute(f'{change} AND instr("{column}", ?)', (before, after, before))
        store.commit()
