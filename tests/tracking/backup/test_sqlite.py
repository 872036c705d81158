"""Backup and restore of a SQLite store: the same runs and bytes, in the same place and in another."""

import os
import shutil
import sqlite3
import stat
import subprocess
import threading
from contextlib import closing

import pytest

from flowerml.tracking.backup.sqlite import dump_file
from tests.tracking.backup.stores import digests, everything

NAMES = ("mlflow.db", "mlartifacts", "mlflow-users.db")


@pytest.mark.parametrize("output", ["backup", "some/folder/backup.tar"])
def test_dumped_wiped_and_restored_it_has_the_same_runs_and_bytes(site, tmp_path, command, output):
    store = f"sqlite:///{site / 'mlflow.db'}"
    before, files = everything(store, tmp_path / "before"), digests(site / "mlartifacts")
    backup = tmp_path / output
    code, said = command("backup", "--output", backup)
    assert code == 0
    assert f"{backup}: 3 runs, 1 model versions, 6 artifacts, the accounts of the log-in; " in said
    assert sorted(path.name for path in backup.parent.iterdir() if path.name.startswith(".")) == []
    assert stat.S_IMODE(backup.stat().st_mode) in (0o600, 0o700), "it has what is private in the database"
    for name in NAMES:
        shutil.move(site / name, tmp_path / name)
    code, said = command("restore", "--from", backup)
    assert code == 0, said
    assert "instead of" not in said, "artifacts are where they were"
    assert everything(store, tmp_path / "after") == before
    assert digests(site / "mlartifacts") == files
    with closing(sqlite3.connect("mlflow-users.db")) as users:
        assert users.execute("SELECT * FROM users").fetchall() == [("admin",)]
    assert stat.S_IMODE((site / "mlflow-users.db").stat().st_mode) == 0o600
    assert sorted(path.name for path in site.iterdir()) == sorted(NAMES)


def test_restored_elsewhere_it_does_not_touch_the_folder_it_is_from(site, tmp_path, command):
    """As in a drill beside the living store; one path in it is plain, the other a `file:` address."""
    before = everything(f"sqlite:///{site / 'mlflow.db'}", tmp_path / "before")
    command("backup", "--output", tmp_path / "b.tar")
    new = tmp_path / "new place"
    store = f"sqlite:///{new / 'mlflow.db'}"
    code, said = command(
        "restore",
        *("--from", tmp_path / "b.tar", "--store", store),
        *("--artifacts", new / "art"),
        "--users",
        new / "u.db",
    )
    assert code == 0, said
    assert f"locations of artifacts in the database name {new / 'art'} now instead of {site / 'mlartifacts'}" in said
    with closing(sqlite3.connect(new / "mlflow.db")) as database:
        text = "\n".join(database.iterdump())
    assert str(site) not in text
    assert f"file://{new}/art/as%20address".replace("new place", "new%20place") in text
    assert everything(store, tmp_path / "after") == before


def test_folders_outside_of_the_artifacts_are_named(site, tmp_path, command):
    (tmp_path / "other").mkdir()
    code, said = command("backup", "--output", tmp_path / "b", "--artifacts", tmp_path / "other")
    assert code == 0
    assert (
        f"warning: 2 folders that the database names are not in it, as they are outside of {tmp_path / 'other'}"
        f" ({site / 'mlartifacts/as address'}, {site / 'mlartifacts/plain'})"
    ) in said
    code, said = command("restore", "--from", tmp_path / "b", "--check")
    assert code == 0
    assert said.startswith(f"{tmp_path / 'b'} of 2"), said


def test_a_bucket_is_left_out_with_a_line(site, tmp_path, command):
    code, said = command("backup", "--output", tmp_path / "b", "--artifacts", "s3://bucket/flowers")
    assert code == 0
    assert "artifacts in s3://bucket/flowers are not in it: that storage is backed up by its own means" in said
    assert digests(tmp_path / "b").keys() == {"manifest.json", "store.db", "accounts.db"}
    new = tmp_path / "new"
    words = ("--from", tmp_path / "b", "--store", f"sqlite:///{new / 'mlflow.db'}", "--users", new / "users.db")
    code, said = command("restore", *words)
    assert code == 0, said
    assert "artifacts in s3://bucket/flowers are not in it" in said
    assert sorted(path.name for path in new.iterdir()) == ["mlflow.db", "users.db"]


def test_without_accounts_there_are_none(site, tmp_path, command):
    shutil.move(site / "mlflow-users.db", tmp_path / "users")
    try:
        code, _ = command("backup", "--output", tmp_path / "b")
    finally:
        shutil.move(tmp_path / "users", site / "mlflow-users.db")
    assert code == 0
    assert not (tmp_path / "b" / "accounts.db").exists()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_a_dump_is_of_one_moment_while_others_write(tmp_path, mode):
    """Each transaction writes one row into both tables: a dump has as many in the one as in the other."""
    file, stop, dumps = tmp_path / "busy.db", threading.Event(), []
    with closing(sqlite3.connect(file)) as database:
        database.execute(f"PRAGMA journal_mode = {mode}")
        for name in "ab":
            database.execute(f"CREATE TABLE {name} (text TEXT)")
        database.commit()

    def write():
        with closing(sqlite3.connect(file, timeout=60)) as database:
            while not stop.is_set():
                for name in "ab":
                    database.execute(f"INSERT INTO {name} VALUES ('{'x' * 5000}')")
                database.commit()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            target = tmp_path / f"{number}.db"
            dump_file("--store x", file, target)
            with closing(sqlite3.connect(target)) as database:
                dumps.append(database.execute("SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)").fetchone())
            assert [path.name for path in tmp_path.glob(f"{number}.db*")] == [target.name], "one file, without a log"
    finally:
        stop.set()
        writer.join()
    assert all(a == b for a, b in dumps)
    assert dumps[-1][0] > dumps[0][0], "the writer went on"


@pytest.mark.parametrize("output", ["b", "b.tar"])
def test_any_name_of_an_artifact(site, tmp_path, command, output):
    """Long ones, other scripts, bytes that are no UTF-8, line ends; and an empty file."""
    artifacts = tmp_path / "art"
    names = [
        "a" * 250,
        "/".join("deep" * 20 for _ in range(20)),
        "花.png",
        os.fsdecode(b"\xff\xfe"),
        "new\nline",
        "..x",
        " ",
    ]
    for name in names:
        path = artifacts / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))
    (artifacts / "empty").touch()
    before = digests(artifacts)
    code, said = command("backup", "--output", tmp_path / output, "--artifacts", artifacts)
    assert code == 0, said
    new = tmp_path / "new"
    words = ("--store", f"sqlite:///{new / 'mlflow.db'}", "--artifacts", new / "art", "--users", new / "users.db")
    code, said = command("restore", "--from", tmp_path / output, *words)
    assert code == 0, said
    assert digests(new / "art") == before
    assert len(before) == len(names) + 1


def test_tar_unpacks_a_backup_to_the_folder_of_the_same(site, tmp_path, command):
    """Where flowerml is not at hand; and a folder that tar has packed is a backup."""
    command("backup", "--output", tmp_path / "b.tar")
    (tmp_path / "by tar").mkdir()
    subprocess.run(["tar", "xf", tmp_path / "b.tar", "-C", tmp_path / "by tar"], check=True)
    assert command("restore", "--check", "--from", tmp_path / "by tar")[0] == 0
    subprocess.run(["tar", "cf", tmp_path / "again.tar", "-C", tmp_path / "by tar", "."], check=True)
    code, said = command("restore", "--check", "--from", tmp_path / "again.tar")
    assert code == 0, said
