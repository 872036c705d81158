"""Targets that are in use, what can't be backed up, and work that is interrupted: nothing is left half done."""

import contextlib
import io
import os
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
import time
from pathlib import Path

import pytest

from flowerml.errors import UserError
from flowerml.tracking.backup.artifacts import SourceFile, add_files
from flowerml.tracking.backup.container import new_backup, open_backup
from tests.tracking.backup.stores import digests

pytestmark = pytest.mark.no_store
ROOT = Path(__file__).resolve().parents[3]


class TestTargets:
    """What is in use is not written over."""

    @pytest.mark.parametrize("used", ["mlflow.db", "mlflow.db-wal", "art/x", "users.db"])
    def test_a_target_that_is_not_empty(self, backup, tmp_path, command, used):
        path = tmp_path / "new" / used
        path.parent.mkdir(parents=True)
        path.write_text("in use")
        new, before = tmp_path / "new", digests(tmp_path)
        words = ("--store", f"sqlite:///{new / 'mlflow.db'}", "--artifacts", new / "art", "--users", new / "users.db")
        code, said = command("restore", "--from", backup, *words)
        assert code == 2
        assert "is not empty (" in said
        assert "name a new " in said
        assert digests(tmp_path) == before

    def test_an_empty_file_and_an_empty_folder_are_taken(self, backup, tmp_path, command):
        new = tmp_path / "new"
        (new / "art").mkdir(parents=True)
        (new / "mlflow.db").touch()
        words = ("--store", f"sqlite:///{new / 'mlflow.db'}", "--artifacts", new / "art", "--users", new / "users.db")
        code, said = command("restore", "--from", backup, *words)
        assert code == 0, said

    @pytest.mark.parametrize(
        ("store", "line"),
        [
            ("postgresql://mlflow:secret@h/d", "--store postgresql://***@h/d: the backup "),
            ("http://h:1", "--store http://h:1 is a server: name its database, where it runs. Allowed: sqlite:///"),
            ("mysql://a:secret@h/d", "--store mysql://***@h/d is no database that can be backed up here. Allowed: "),
            ("mlruns", "--store mlruns is no database that can be backed up here. Allowed: "),
        ],
    )
    def test_a_store_of_another_kind(self, backup, tmp_path, command, store, line):
        code, said = command("restore", "--from", backup, "--store", store, "--artifacts", tmp_path / "art")
        assert (code, said.count("\n")) == (2, 1)
        assert said.startswith(f"error: {line}")
        assert "secret" not in said


class TestBackupInput:
    """What can't be backed up: one line, and no backup."""

    def refused(self, command, tmp_path, *words):
        code, said = command("backup", "--output", tmp_path / "out", *words)
        assert code == 2
        assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []
        (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
        assert said.splitlines()[-1] == line
        return line.removeprefix("error: ")

    def test_wrong_input_is_one_line(self, site, tmp_path, command):
        other = tmp_path / "other.db"
        other.write_text("no database at all, but text")
        empty = tmp_path / "empty.db"
        empty.touch()
        for words, line in {
            ("--store", "sqlite:///nix.db"): f"--store sqlite:///{site / 'nix.db'}: no such file. Name the database",
            ("--store", f"sqlite:///{other}"): f"--store sqlite:///{other} can't be read as a SQLite database (file is",
            ("--store", f"sqlite:///{empty}"): f"--store sqlite:///{empty} is no tracking store of MLflow: it has no",
            ("--artifacts", "nix"): f"--artifacts {site / 'nix'}: no such folder. Name the one that the server keeps",
            ("--users", "nix.db"): "--users nix.db: no such file. Name the database of the server",
        }.items():
            assert line in self.refused(command, tmp_path, *words)
        assert not (site / "nix.db").exists()

    def test_an_output_that_is_there_or_inside(self, site, tmp_path, command):
        (tmp_path / "there").mkdir()
        code, said = command("backup", "--output", tmp_path / "there")
        assert (code, said) == (
            2,
            f"error: --output {tmp_path / 'there'} is there already: name a new file (.tar) or folder\n",
        )
        code, said = command("backup", "--output", site / "mlartifacts" / "b")
        assert code == 2
        assert "is inside of --artifacts" in said

    def test_a_link_among_the_artifacts(self, site, tmp_path, command):
        link = site / "mlartifacts" / "link"
        link.symlink_to(tmp_path)
        try:
            assert f"{link} is a link or no file, and MLflow makes none" in self.refused(command, tmp_path)
        finally:
            link.unlink()


@pytest.mark.parametrize("output", ["out", "out.tar"])
def test_a_file_that_changes_while_it_is_copied_is_copied_again(tmp_path, output, monkeypatch):
    monkeypatch.setattr("flowerml.tracking.backup.artifacts._PAUSE_S", 0)
    paths = [tmp_path / name for name in ("a", "grows", "gone", "z")]
    for path in paths:
        path.write_bytes(b"1" * 1_500_000)
    files = [SourceFile(path.name, path, 0) for path in paths]
    paths[2].unlink()
    entries = {}
    with new_backup(tmp_path / output) as writer:
        for number, _ in enumerate(add_files(writer, files, entries)):
            if number == 2:
                with paths[1].open("ab") as file:
                    file.write(b"2" * 1_000)
    assert list(entries) == ["a", "grows", "z"]
    assert entries["grows"].size == 1_501_000
    with open_backup_of(tmp_path / output) as reader:
        assert {name: reader.open(name).read() for name in reader.names - {"manifest.json"}} == {
            path.name: path.read_bytes() for path in paths if path.exists()
        }


def open_backup_of(path):
    """Opens a backup that has files and no manifest yet, with an empty one added."""
    if path.is_dir():
        (path / "manifest.json").write_text("{}")
    else:
        with tarfile.open(path, "a") as archive:
            archive.addfile(tarfile.TarInfo("manifest.json"), io.BytesIO())
    return open_backup(path)


def test_a_file_that_goes_on_changing_ends_it(tmp_path, monkeypatch):
    monkeypatch.setattr("flowerml.tracking.backup.artifacts._PAUSE_S", 0)
    (tmp_path / "busy").write_bytes(b"1")

    def copy():
        with new_backup(tmp_path / "out") as writer:
            for _ in add_files(writer, [SourceFile("busy", tmp_path / "busy", 1)], {}):
                with (tmp_path / "busy").open("ab") as file:
                    file.write(b"2")

    with pytest.raises(UserError, match="busy goes on changing: back up when its upload is over"):
        copy()
    assert [path.name for path in tmp_path.iterdir()] == ["busy"]


@contextlib.contextmanager
def small_disk():
    """Context in which a file has room for 50 kB; Python ignores the signal that a longer one raises."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("output", ["out", "out.tar"])
def test_a_full_disk_leaves_nothing(site, whole, tmp_path, command, output):
    with small_disk():
        code, said = command("backup", "--output", tmp_path / output)
    assert code == 2
    assert said.splitlines()[-1].startswith("error: "), said
    new = tmp_path / "new"
    words = ("--store", f"sqlite:///{new / 'm.db'}", "--artifacts", new / "art", "--users", new / "users.db")
    with small_disk():
        code, said = command("restore", "--from", whole, *words)
    assert code == 2
    assert "File too large" in said.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_stop_when_the_database_is_in_its_place_takes_it_away_again(backup, tmp_path, command, monkeypatch):
    """Without its artifacts it would be half a store."""

    def stop(path):
        assert (tmp_path / "new" / "mlflow.db").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr("flowerml.tracking.backup.sqlite.file_digest", stop)
    new = tmp_path / "new"
    words = ("--store", f"sqlite:///{new / 'mlflow.db'}", "--artifacts", new / "art", "--users", new / "users.db")
    code, said = command("restore", "--from", backup, *words)
    assert (code, said.splitlines()[-1]) == (130, "stopped")
    assert [path.name for path in new.rglob("*")] == []


@pytest.mark.parametrize("output", ["out", "out.tar"])
@pytest.mark.parametrize("nth", [1, 2], ids=["database copy", "backup"])
def test_a_stop_just_as_a_temporary_file_is_created_leaves_nothing(site, tmp_path, command, monkeypatch, output, nth):
    """A signal that arrives when the file or folder is there and the call that created it has not returned yet."""
    made = []

    def stopping(create):
        def stopped(name, *args, **kwargs):
            result = create(name, *args, **kwargs)
            if str(name).endswith(".part"):
                made.append(name)
                if len(made) == nth:
                    raise KeyboardInterrupt
            return result

        return stopped

    for name in ("open", "mkdir"):
        monkeypatch.setattr(os, name, stopping(getattr(os, name)))
    code, said = command("backup", "--output", tmp_path / output)
    assert (code, said.splitlines()[-1]) == (130, "stopped")
    assert len(made) >= nth  # cleaning up opens them once more
    assert list(tmp_path.iterdir()) == []


# A shell starts what runs in its background with SIGINT ignored, and that is inherited.
PROGRAM = """
    import signal, sys
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from flowerml.cli.main import main_process
    main_process(sys.argv[1:])
"""


def start(*words, folder):
    """`flowerml` in a process of its own."""
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), *map(str, words)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_backup_or_restore_leaves_nothing(filled, whole, tmp_path, stop):
    """A sparse file of some hundred MB gives the time to stop it while it copies."""
    folder = tmp_path / "site"
    shutil.copytree(filled, folder)
    with (folder / "mlartifacts" / "large").open("wb") as file:
        file.truncate(600_000_000)
    process = start("backup", "--output", tmp_path / "out.tar", folder=folder)
    wait_for(lambda: [path for path in tmp_path.glob(".out*.part") if path.is_file()], process)
    process.send_signal(stop)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.splitlines()[-1]) == (130, "stopped"), said
    assert list(tmp_path.iterdir()) == [folder]
    shutil.rmtree(folder)
    folder.mkdir()
    process = start("restore", "--from", whole, folder=folder)
    wait_for((folder / "mlartifacts").exists, process)
    process.send_signal(stop)
    _, said = process.communicate(timeout=60)
    left = sorted(path.name for path in folder.iterdir())
    whole_store = ["mlartifacts", "mlflow-users.db", "mlflow.db"]
    # The signal may come when all is in its place: then it is whole.
    assert (process.returncode, left) in ((130, []), (130, whole_store), (0, whole_store)), said


def wait_for(ready, process):
    deadline = time.monotonic() + 60
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
