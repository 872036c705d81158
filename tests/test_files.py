"""Atomic writes: failures, full disks, permissions, odd names, concurrent writers, fencing."""

import errno
import hashlib
import json
import os
import shutil
import stat
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from flowerml.errors import LeaseLost, UserError
from flowerml.files import (
    copy_file,
    create_private,
    fenced_writes_to,
    file_digest,
    write_bytes,
    write_json,
    write_private,
    write_text,
    write_with,
)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path):
    """An empty folder; other fixtures use tmp_path."""
    path = tmp_path / "folder"
    path.mkdir()
    return path


@pytest.fixture
def umask():
    """A function that sets the umask, which is restored."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def test_bytes_are_written_and_parents_created(folder):
    data = bytes(range(256)) * 1000
    write_bytes(folder / "a" / "b" / "file.bin", data)
    assert (folder / "a" / "b" / "file.bin").read_bytes() == data
    assert names_in(folder / "a" / "b") == ["file.bin"]


def test_an_old_file_is_replaced_whole(folder):
    write_bytes(folder / "f", b"a long old text")
    write_bytes(folder / "f", b"new")
    assert (folder / "f").read_bytes() == b"new"
    write_bytes(folder / "f", b"")
    assert (folder / "f").read_bytes() == b""
    assert names_in(folder) == ["f"]


@pytest.mark.parametrize(
    "error", [RuntimeError("no"), KeyboardInterrupt(), ValueError("no")], ids=lambda error: type(error).__name__
)
@pytest.mark.parametrize("old", [None, b"the old file"])
def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(folder, error, old):
    if old is not None:
        (folder / "best.pth").write_bytes(old)

    def half(temporary):
        temporary.write_bytes(b"half of the new f")
        raise error

    with pytest.raises(type(error)):
        write_with(folder / "best.pth", half)
    assert names_in(folder) == ([] if old is None else ["best.pth"])
    assert old is None or (folder / "best.pth").read_bytes() == old


def test_a_full_disk_is_a_one_line_error(folder):
    (folder / "best.pth").write_bytes(b"old")

    def full(temporary):
        temporary.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(UserError, match="No space left on device") as caught:
        write_with(folder / "best.pth", full)
    assert str(folder / "best.pth") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert names_in(folder) == ["best.pth"]
    assert (folder / "best.pth").read_bytes() == b"old"


def test_the_error_of_a_full_disk_has_the_needed_and_free_bytes(folder):
    """The free bytes are those after removing the partial file."""
    seen = []

    def full(temporary):
        seen.append(temporary)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(
        UserError, match=r"No space left on device \(it needs about 1,234,567 bytes, [\d,]+ bytes are free there\)"
    ):
        write_with(folder / "best.pth", full, 1_234_567)
    (folder / "source").write_bytes(b"x" * 5000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shutil.copyfile", lambda _source, target: full(target))
        patch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=123 if not seen[-1].exists() else 0))
        with pytest.raises(UserError, match=r"it needs about 5,000 bytes, 123 bytes are free there"):
            copy_file(folder / "source", folder / "target")


def test_a_concurrent_reader_sees_the_old_file(folder):
    path = folder / "state.json"
    write_bytes(path, b"old")
    seen = []

    def slow(temporary):
        temporary.write_bytes(b"new, not ready")
        seen.append((path.read_bytes(), temporary.parent == path.parent, temporary.name.startswith(".")))
        temporary.write_bytes(b"new")

    write_with(path, slow)
    assert seen == [(b"old", True, True)], "written beside its place (one file system), under a hidden name"
    assert path.read_bytes() == b"new"


def test_the_content_is_synced_before_the_rename(folder, monkeypatch):
    calls = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append("fsync"), fsync(handle))[1])
    monkeypatch.setattr(Path, "replace", lambda path, target: (calls.append("replace"), replace(path, target))[1])
    write_bytes(folder / "f", b"x")
    assert calls[:2] == ["fsync", "replace"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664), (0o077, 0o600)])
def test_permissions_follow_the_umask(folder, umask, mask, mode):
    umask(mask)
    write_bytes(folder / "f", b"x")
    assert stat.S_IMODE((folder / "f").stat().st_mode) == mode
    assert umask(mask) == mask, "and the umask is as it was"


def test_a_file_in_the_folders_place_is_reported(folder):
    (folder / "file").write_bytes(b"x")
    for path in (folder / "file" / "best.pth", folder / "file" / "deeper" / "best.pth"):
        with pytest.raises(UserError) as caught:
            write_bytes(path, b"y")
        assert str(caught.value).startswith(f"can't write {path}: ")
        assert "Not a directory" in str(caught.value) or "file is a file. Choose another" in str(caught.value)
        assert caught.value.exit_code == 2


def test_a_folder_in_the_files_place_is_reported(folder):
    (folder / "best.pth" / "inside").mkdir(parents=True)
    with pytest.raises(UserError, match=r"can't write .*best\.pth"):
        write_bytes(folder / "best.pth", b"y")
    assert names_in(folder) == ["best.pth"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_reported(folder):
    folder.chmod(0o500)
    try:
        with pytest.raises(UserError, match="Permission denied"):
            write_bytes(folder / "f", b"x")
    finally:
        folder.chmod(0o700)


def test_text_is_utf8_and_json_is_indented(folder):
    write_text(folder / "t.txt", "Blüte 花\n")
    assert (folder / "t.txt").read_bytes() == "Blüte 花\n".encode()
    value = {"b": [1, 2.5, None, True], "a": "Blüte"}
    write_json(folder / "v.json", value)
    text = (folder / "v.json").read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert "Blüte" in text
    assert text.startswith('{\n  "b"')
    assert text.endswith("}\n")


def test_a_value_that_is_not_json_leaves_the_old_file(folder):
    write_json(folder / "v.json", [1])
    with pytest.raises(TypeError):
        write_json(folder / "v.json", {"x": object()})
    assert json.loads((folder / "v.json").read_text()) == [1]
    assert names_in(folder) == ["v.json"]


@pytest.mark.parametrize("name", ["with space.txt", "é花.txt", "new\nline.txt", "n" * 240 + ".txt", ".hidden", "-dash"])
def test_odd_file_names(folder, name):
    write_bytes(folder / name, b"x")
    assert names_in(folder) == [name]


def test_two_writers_leave_one_whole_file(folder):
    contents = [bytes([letter]) * 300_000 for letter in b"ab"]

    def write_often(data):
        for _ in range(15):
            write_bytes(folder / "f", data)

    threads = [threading.Thread(target=write_often, args=(data,)) for data in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if (folder / "f").exists():
            assert (folder / "f").read_bytes() in contents
    assert names_in(folder) == ["f"]


def test_the_digest_is_the_sha256_of_the_content(folder):
    data = os.urandom(300_000)
    write_bytes(folder / "f", data)
    assert file_digest(folder / "f") == hashlib.sha256(data).hexdigest()
    for path in (folder / "nothing", folder):
        with pytest.raises(UserError, match="can't read") as caught:
            file_digest(path)
        assert str(path) in str(caught.value)


def test_nothing_is_written_into_a_retired_staging_folder(tmp_path):
    """A thread that is still writing a checkpoint after the run must not create the removed folder again."""
    staging = tmp_path / "attempts" / "0001" / ".staging"  # the checkpoint store makes the part folder
    (staging / "part").mkdir(parents=True)
    with fenced_writes_to(tmp_path, staging):
        write_text(staging / "part" / "state.pt", "first")
    shutil.rmtree(staging)
    with pytest.raises(LeaseLost, match="was being written when its run was left"):
        write_text(staging / "part" / "state.pt", "second")
    assert not staging.exists()
    write_text(tmp_path / "elsewhere.txt", "as ever")


def test_text_with_undecodable_bytes_of_a_name_is_written_as_valid_utf_8(tmp_path):
    write_text(tmp_path / "a.csv", "ros\udce9.jpg,花")
    assert (tmp_path / "a.csv").read_text("utf-8") == r"ros\udce9.jpg,花"
    write_json(tmp_path / "a.json", {"image": "ros\udce9.jpg"})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"image": "ros\udce9.jpg"}


def test_the_longest_names_a_disk_takes_can_be_written(tmp_path):
    for name in ("花" * 85, "x" * 255, os.fsdecode(b"\xe9" * 255)):
        write_text(tmp_path / name, "text")
        assert (tmp_path / name).read_text() == "text"


@pytest.mark.parametrize("write", [write_bytes, write_private])
def test_a_signal_that_arrives_as_the_temporary_file_is_created_leaves_nothing(tmp_path, monkeypatch, write):
    """The file is there and the call that created it has not returned yet."""
    real_open = os.open

    def interrupted(name, *args, **kwargs):
        handle = real_open(name, *args, **kwargs)
        assert names_in(tmp_path), "the file was made"
        os.close(handle)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # the removal of `tmp_path` opens folders, from Python 3.12 on
        patch.setattr(os, "open", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "file", b"new")
    assert names_in(tmp_path) == []


def test_a_private_file_is_readable_by_its_owner_alone_from_its_creation(tmp_path, umask):
    umask(0)
    write_private(tmp_path / "key", b"secret")
    assert ((tmp_path / "key").read_bytes(), stat.S_IMODE((tmp_path / "key").stat().st_mode)) == (b"secret", 0o600)
    create_private(tmp_path / "new")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        create_private(tmp_path / "new")
