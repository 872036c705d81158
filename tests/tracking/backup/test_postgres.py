"""Backup and restore of a real Postgres database, by the real programs of PostgreSQL."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from tests.tracking import compose_server as compose
from tests.tracking.backup.stores import digests, everything, fill

pytestmark = [pytest.mark.slow, pytest.mark.no_store]
postgres = compose.postgres  # fixture


def address(port, name, password=compose.PASSWORD):
    url = URL.create("postgresql+psycopg2", "mlflow", password, "127.0.0.1", port, name)
    return url.render_as_string(hide_password=False)


def execute(port, statement, name="postgres"):
    engine = create_engine(address(port, name), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        found = connection.execute(text(statement))
        return found.fetchall() if found.returns_rows else []


def tables(port, name):
    return execute(port, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'", name)


@pytest.fixture
def empty(postgres):
    """The name of a new database."""
    execute(postgres, "DROP DATABASE IF EXISTS copy WITH (FORCE)")
    execute(postgres, "CREATE DATABASE copy")
    return "copy"


@pytest.fixture(scope="module")
def store(postgres, tmp_path_factory):
    """The address of a filled store, and its folder of artifacts."""
    artifacts = tmp_path_factory.mktemp("postgres") / "artifacts"
    fill(address(postgres, "mlflow"), artifacts)
    return address(postgres, "mlflow"), artifacts


@pytest.fixture
def backup(store, tmp_path, command):
    """A backup of the store."""
    code, said = command("backup", "--output", tmp_path / "b.tar", "--store", store[0], "--artifacts", store[1])
    assert code == 0, said
    return tmp_path / "b.tar"


def test_dumped_wiped_and_restored_it_has_the_same_runs_and_bytes(postgres, store, tmp_path, command):
    before, files = everything(store[0], tmp_path / "before"), digests(store[1])
    words = ("--store", store[0], "--artifacts", store[1])
    code, said = command("backup", "--output", tmp_path / "b", *words)
    assert (code, f"{tmp_path / 'b'}: 3 runs, 1 model versions, 6 artifacts; " in said) == (0, True), said
    assert compose.PASSWORD not in said
    execute(postgres, "DROP DATABASE mlflow WITH (FORCE)")
    execute(postgres, "CREATE DATABASE mlflow")
    shutil.rmtree(store[1])
    code, said = command("restore", "--from", tmp_path / "b", *words)
    assert code == 0, said
    assert compose.PASSWORD not in said
    assert everything(store[0], tmp_path / "after") == before
    assert digests(store[1]) == files


def test_restored_elsewhere_it_names_the_new_folder(postgres, store, backup, empty, tmp_path, command):
    """And an address that names no driver is taken."""
    before = everything(store[0], tmp_path / "before")
    target = address(postgres, empty)
    plain = target.replace("postgresql+psycopg2:", "postgresql:")
    code, said = command("restore", "--from", backup, "--store", plain, "--artifacts", tmp_path / "new place")
    assert code == 0, said
    assert f"name {tmp_path / 'new place'} now instead of {store[1]}" in said
    assert everything(target, tmp_path / "after") == before
    (locations,) = zip(*execute(postgres, "SELECT artifact_uri FROM runs", empty), strict=True)
    assert [one for one in locations if str(store[1]) in one] == []


def test_the_password_is_in_no_command_line(store, tmp_path, command, monkeypatch):
    """What stands before the real program on PATH notes what it is called with."""
    real, first = shutil.which("pg_dump"), tmp_path / "bin"
    first.mkdir()
    (first / "pg_dump").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/words\nexec {real} "$@"\n')
    (first / "pg_dump").chmod(0o755)
    monkeypatch.setenv("PATH", f"{first}:{os.environ['PATH']}")
    code, said = command("backup", "--output", tmp_path / "b", "--store", store[0], "--artifacts", store[1])
    assert code == 0, said
    words = (tmp_path / "words").read_text()
    assert "dbname='mlflow'" in words
    assert compose.PASSWORD not in words


def test_what_is_not_empty_is_refused(store, backup, tmp_path, command):
    code, said = command("restore", "--from", backup, "--store", store[0], "--artifacts", tmp_path / "new")
    assert code == 2
    assert "is not empty (it has public.alembic_version): stop its server and name a new database (createdb)" in said
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("mistake", ["rows", "artifact"])
def test_after_a_failure_the_database_is_empty_again(postgres, store, empty, tmp_path, command, mistake, monkeypatch):
    command("backup", "--output", tmp_path / "b", "--store", store[0], "--artifacts", store[1])
    if mistake == "rows":
        manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
        manifest["rows"]["runs"] += 1
        (tmp_path / "b" / "manifest.json").write_text(json.dumps(manifest))
        line = "the table runs has 3 rows and not the 4 of the backup"
    else:
        monkeypatch.setattr("flowerml.tracking.backup.restore.file_digest", lambda path: "another")
        line = "has other bytes than were written"
    words = ("--store", address(postgres, empty), "--artifacts", tmp_path / "new")
    code, said = command("restore", "--from", tmp_path / "b", *words)
    assert code == 2
    assert line in said
    assert not (tmp_path / "new").exists()
    assert tables(postgres, empty) == []


def test_wrong_input_is_one_line(postgres, store, backup, empty, tmp_path, command, monkeypatch):
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    other = tmp_path / "other"
    other.mkdir()
    for name in ("pg_dump", "pg_restore"):  # as the one of Debian 12 says it to the server of Debian 13
        said = f"{name}: error: aborting because of server version mismatch\\n{name}: detail: server version: 17.2"
        (other / name).write_text(f"#!/bin/sh\nprintf '{said} (Debian 17.2-1); {name} version: 15.9\\n' >&2\nexit 1\n")
        (other / name).chmod(0o755)
    cases = [
        ("", "nix", compose.PASSWORD, 'has no such database (connection to server at "127.0.0.1"'),
        ("", "mlflow", "wrong", "wants a login, or another one"),
        (
            nothing,
            "mlflow",
            compose.PASSWORD,
            "a Postgres store needs the program pg_dump of PostgreSQL's client tools",
        ),
        (
            other,
            "mlflow",
            compose.PASSWORD,
            "pg_dump is of PostgreSQL 15 and the server of --store postgresql+psycopg2:",
        ),
    ]
    for path, name, password, line in cases:
        with monkeypatch.context() as patch:
            patch.setenv("PATH", f"{path}:/bin" if path == other else str(path or os.environ["PATH"]))
            words = ("--store", address(postgres, name, password), "--artifacts", store[1])
            code, said = command("backup", "--output", tmp_path / "out", *words)
        errors = [one for one in said.splitlines() if one != "backing up the database"]
        assert (code, len(errors)) == (2, 1), said
        assert line in errors[0]
        assert password not in said
        assert [one.name for one in tmp_path.iterdir() if "out" in one.name] == []
    monkeypatch.setenv("PATH", str(nothing))
    code, said = command(
        "restore", "--from", backup, "--store", address(postgres, empty), "--artifacts", tmp_path / "new"
    )
    assert code == 2
    assert "needs the program pg_restore" in said


def test_the_dump_is_one_that_pg_restore_reads_by_itself(backup, tmp_path):
    """Where flowerml is not at hand, tar and PostgreSQL's own program are enough."""
    subprocess.run(["tar", "xf", backup, "-C", tmp_path], check=True)
    listed = subprocess.run(
        ["pg_restore", "--list", tmp_path / "store.dump"], capture_output=True, text=True, check=True
    )
    assert "TABLE DATA public runs" in listed.stdout
    assert (Path(tmp_path) / "artifacts").is_dir()
