"""Backups that are damaged or hostile: one line, and nothing is written."""

import hashlib
import json
import os
import tarfile
from pathlib import Path

import pytest

from flowerml.tracking.backup.manifest import is_safe_name
from tests.tracking.backup.stores import digests

pytestmark = pytest.mark.no_store
ROOT = Path(__file__).resolve().parents[3]


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
