"""Backups that are damaged, hostile or interrupted, and targets that are in use: one line, and nothing is written."""

import contextlib
import hashlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from flowerml.cli.main import run_command
from flowerml.errors import UserError
from flowerml.tracking.backup.artifacts import SourceFile, add_files
from flowerml.tracking.backup.container import new_backup, open_backup
from flowerml.tracking.backup.manifest import is_safe_name
from tests.tracking.backup.stores import digests

pytestmark = pytest.mark.no_store
ROOT = Path(__file__).resolve().parents[3]


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


@pytest.fixture
def refused(tmp_path, command):
    """Restores into a new folder: gives the one line, and checks that nothing was written anywhere."""

    def restore(source):
        new = tmp_path / "new"
        words = ("--store", f"sqlite:///{new / 'mlflow.db'}", "--artifacts", new / "art", "--users", new / "users.db")
        before = digests(tmp_path)
        code, said = command("restore", "--from", source, *words)
        assert code == 2
        assert digests(tmp_path) == before
        assert not new.exists()
        errors = [line for line in said.splitlines() if line.startswith("error: ")]
        assert said.splitlines()[-1:] == errors, said
        return errors[0].removeprefix("error: ")

    return restore


def pack(folder, path, change=lambda member: member):
    """The backup `folder` as a tar file, each member as `change` makes it."""
    with tarfile.open(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.add(file, file.relative_to(folder).as_posix(), filter=change)
    return path


def edit_manifest(backup, change):
    manifest = json.loads((backup / "manifest.json").read_text())
    change(manifest)
    (backup / "manifest.json").write_text(json.dumps(manifest))


def artifact(backup):
    """The first artifact of a backup."""
    return next(path for path in sorted((backup / "artifacts").rglob("*")) if path.is_file())


class TestDamage:
    """Every byte counts, and every file."""

    @pytest.mark.parametrize("name", ["store.db", "accounts.db", "artifact"])
    def test_one_flipped_bit_is_seen(self, backup, refused, name):
        path = artifact(backup) if name == "artifact" else backup / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        named = path.relative_to(backup).as_posix()
        line = f"--from {backup}: {named} is damaged (its sha256 is not that of the manifest). Nothing is restored"
        assert line in refused(backup)
        assert line.replace(str(backup), f"{backup}.tar") in refused(pack(backup, Path(f"{backup}.tar")))

    def test_a_missing_file_and_one_too_many_are_named(self, backup, refused):
        path = artifact(backup)
        named = path.relative_to(backup).as_posix()
        path.unlink()
        assert f"--from {backup} lacks its file {named}. Nothing is restored" in refused(backup)
        path.with_name("more").write_text("x")
        path.write_text("")
        assert "has a file that its manifest does not name: artifacts/" in refused(backup)

    def test_a_tar_that_was_cut_off(self, backup, tmp_path, refused):
        path = pack(backup, tmp_path / "b.tar")
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)
        assert f"--from {path} " in refused(path)

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("", "manifest.json is damaged (Expecting value"),
            ("[]", "manifest.json is of format None. Allowed: flowerml-backup-1"),
            ('{"format": "flowerml-backup-2"}', "is of format 'flowerml-backup-2'. Allowed: flowerml-backup-1"),
            ('{"format": "flowerml-backup-1"}', "manifest.json is damaged (KeyError"),
            ('{"format": "flowerml-backup-1", "files": {"a": {"size": -1, "sha256": ""}}}', "entry of a"),
        ],
    )
    def test_a_manifest_that_is_none(self, backup, refused, text, line):
        (backup / "manifest.json").write_text(text)
        assert line in refused(backup)

    def test_what_is_no_backup(self, tmp_path, refused):
        assert f"--from {tmp_path / 'nix'}: no such backup. Name a folder or a .tar file" in refused(tmp_path / "nix")
        (tmp_path / "empty").mkdir()
        assert "empty is no whole backup: it has no manifest.json" in refused(tmp_path / "empty")
        (tmp_path / "text.tar").write_text("no tar file")
        assert "text.tar can't be read: " in refused(tmp_path / "text.tar")

    def test_a_database_that_is_damaged_though_its_digest_fits(self, backup, refused):
        data = bytearray((backup / "store.db").read_bytes())
        data[20_000:30_000] = b"\xff" * 10_000
        (backup / "store.db").write_bytes(data)
        entry = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        edit_manifest(backup, lambda manifest: manifest["files"].update({"store.db": entry}))
        assert "the backup: the database is damaged (" in refused(backup)

    def test_other_numbers_of_rows_than_were_backed_up(self, backup, refused):
        edit_manifest(backup, lambda manifest: manifest["rows"].update(runs=4))
        assert "the table runs has 3 rows and not the 4 of the backup" in refused(backup)


class TestHostile:
    """Who made a backup may not write outside of the folder that it is restored into, nor have other files read."""

    @pytest.mark.parametrize("name", ["a", "a/b", "é ü/..a", "artifacts/..."])
    def test_safe_names(self, name):
        assert is_safe_name(name)

    @pytest.mark.parametrize("name", ["", "/a", "../a", "a/../../b", "a/..", "./a", "a//b", "a/", "a\0b", ".."])
    def test_unsafe_names(self, name):
        assert not is_safe_name(name)

    @pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "artifacts/../../evil", "other.db", "artifacts/"])
    def test_a_manifest_that_names_a_file_elsewhere(self, backup, refused, name):
        entry = {"size": 0, "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
        edit_manifest(backup, lambda manifest: manifest["files"].update({name: entry}))
        assert f"manifest.json names the file {name!r}, which no backup holds" in refused(backup)

    @pytest.mark.parametrize("kind", ["symlink", "folder link", "fifo"])
    def test_links_in_a_folder(self, backup, tmp_path, refused, kind):
        (tmp_path / "secret").mkdir()
        path = artifact(backup) if kind == "symlink" else backup / "artifacts" / "more"
        path.unlink(missing_ok=True)
        os.mkfifo(path) if kind == "fifo" else path.symlink_to(tmp_path / "secret")
        assert f"{path} is a link or no file: it is not restored" in refused(backup)

    @pytest.mark.parametrize(
        ("change", "name"),
        [
            ({"type": tarfile.SYMTYPE, "linkname": "/etc/passwd", "size": 0}, None),
            ({"type": tarfile.LNKTYPE, "linkname": "manifest.json", "size": 0}, None),
            ({"type": tarfile.CHRTYPE, "size": 0}, None),
            ({"name": "../evil"}, "../evil"),
            ({"name": "/tmp/evil"}, "/tmp/evil"),
            ({"name": "artifacts/../../evil"}, None),
            ({"name": "store.db"}, "store.db"),
        ],
        ids=["symlink", "hard link", "device", "above", "absolute", "up and out", "twice"],
    )
    def test_entries_of_a_tar(self, backup, tmp_path, refused, change, name):
        changed = artifact(backup).relative_to(backup).as_posix()

        def make(member):
            if member.name == changed:
                for attribute, value in change.items():
                    setattr(member, attribute, value)
            return member

        path = pack(backup, tmp_path / "b.tar", make)
        line = refused(path)
        assert f"--from {path}: its entry {name or change.get('name', changed)!r} is a link, stands there twice" in line


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


def start(*words, folder):
    """`flowerml` in a process of its own."""
    command = [sys.executable, "-m", "flowerml.cli.main", *map(str, words)]
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
    assert process.returncode in (130, 0)
    assert sorted(path.name for path in folder.iterdir()) == (
        ["mlartifacts", "mlflow-users.db", "mlflow.db"] if process.returncode == 0 else []
    ), said


def wait_for(ready, process):
    deadline = time.monotonic() + 60
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
