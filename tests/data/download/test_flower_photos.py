"""`fetch_photos` fills the train folder or leaves it as it was, and says in one line what to do."""

import fcntl
import os

import pytest

from flowerml.data.download import archive as unpack
from flowerml.data.download.flower_photos import FOLDER_ALIASES, PUBLIC_SHA256, PUBLIC_SIZE, unpack_photos
from flowerml.errors import UserError
from tests.data.download.archive_server import (
    COUNTS,
    PHOTOS,
    Turn,
    digest,
    file_member,
    tgz,
    tree,
    whole,
)
from tests.data.download.fetch_helpers import ARCHIVE, SHA, WAYS, fetch, names_beside, refusal


def test_the_renamed_folders_are_the_tasks_aliases():
    from flowerml.tasks.flowers import ALIASES

    assert FOLDER_ALIASES == ALIASES


def test_photos_arrive_under_the_classes_names_with_their_licence(serve, train):
    server = serve(Turn(ARCHIVE))
    assert fetch(train, server) == COUNTS
    assert whole(train)
    assert (train / "LICENSE.txt").read_bytes() == PHOTOS["flower_photos/LICENSE.txt"]
    assert names_beside(train) == [], "archive, part and note are gone"
    assert server.ranges == [None]


def test_an_empty_folder_and_a_link_to_one_are_taken(serve, train, tmp_path):
    train.mkdir(parents=True)
    fetch(train, serve(Turn(ARCHIVE)))
    assert whole(train)
    (tmp_path / "disk" / "photos").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "photos")
    fetch(tmp_path / "link", serve(Turn(ARCHIVE)))
    assert (tmp_path / "link").is_symlink()
    assert whole(tmp_path / "disk" / "photos")


@pytest.mark.parametrize("kind", ["file in it", "file", "here"])
def test_a_folder_in_use_is_refused_before_anything_is_fetched(serve, tmp_path, monkeypatch, kind):
    train = tmp_path / "train"
    if kind == "file":
        train.write_bytes(b"x")
    else:
        train.mkdir()
        monkeypatch.chdir(train)
    if kind == "file in it":
        (train / "mine.jpg").write_bytes(b"x")
    before = tree(tmp_path)
    server = serve(Turn(ARCHIVE))
    with pytest.raises(UserError, match="name another folder" if "file" in kind else "name .*photos"):
        fetch(train, server)
    assert server.requests == []
    assert tree(tmp_path) == before


def test_the_archive_stays_when_asked_for_and_is_never_written_over_another(serve, train):
    server = serve(Turn(ARCHIVE))
    fetch(train, server, keep_archive=True)
    assert names_beside(train) == ["flower_photos.tgz"]
    assert (train.parent / "flower_photos.tgz").read_bytes() == ARCHIVE
    other = train.with_name("other")
    message = refusal(other, server, keep_archive=True)
    assert f"--archive {train.parent / 'flower_photos.tgz'}" in message
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [404, 403, 410, 416, 204])
def test_a_refusal_is_said_at_once(serve, train, status):
    server = serve(Turn(b"", status=status))
    message = refusal(train, server)
    assert f"the server answers {status}" in message
    assert all(way in message for way in WAYS)
    assert len(server.requests) == 1


def test_other_content_is_removed_and_both_digests_are_named(serve, train):
    other = tgz({**PHOTOS, "flower_photos/roses/0.jpg": b"another rose"})
    message = refusal(train, serve(Turn(other)))
    assert digest(other) in message
    assert SHA in message
    assert "removed" in message
    assert all(way in message for way in ("--sha256", *WAYS))
    assert names_beside(train) == []


def test_one_flipped_bit_is_seen(serve, train):
    damaged = bytearray(ARCHIVE)
    damaged[len(damaged) // 2] ^= 1
    refusal(train, serve(Turn(bytes(damaged))))
    assert names_beside(train) == []


def test_a_file_of_another_size_is_refused_before_it_is_fetched(serve, train):
    """The public archive's size is known: a login page that a network puts in its place is told by it."""
    server = serve(Turn(b"<html>log in</html>", headers={"Content-Type": "text/html"}))
    message = refusal(train, server, PUBLIC_SHA256)
    assert f"offers 19 bytes (text/html) where the archive has {PUBLIC_SIZE}" in message
    assert names_beside(train) == []


def test_a_body_without_a_length_is_taken(serve, train):
    assert fetch(train, serve(Turn(ARCHIVE, length=-1))) == COUNTS
    assert fetch(train.with_name("b"), serve(Turn(ARCHIVE, chunked=True))) == COUNTS


def test_a_full_disk_is_said_before_anything_is_fetched(serve, train):
    message = refusal(train, serve(Turn(ARCHIVE, length=10**17)))
    assert f"{train.parent}: " in message
    assert "210000000.0 GB needed" in message
    assert "--train-dir" in message
    assert names_beside(train) == []


def test_two_at_once_do_not_share_a_part(serve, train):
    train.parent.mkdir()
    server = serve(Turn(ARCHIVE))
    other = os.open(train.parent, os.O_RDONLY)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "another `dataset fetch` is at work" in refusal(train, server)
    finally:
        os.close(other)
    assert server.requests == []
    assert fetch(train, server) == COUNTS


def test_what_a_killed_unpacking_left_does_not_count(serve, train):
    stage = unpack.unpacking_dir(train)
    (stage / "flower_photos" / "roses").mkdir(parents=True)
    (stage / "flower_photos" / "roses" / "half.jpg").write_bytes(b"half")
    assert fetch(train, serve(Turn(ARCHIVE))) == COUNTS
    assert whole(train)
    assert names_beside(train) == []


def test_an_archive_that_is_refused_is_not_kept(serve, train):
    bad = tgz(
        [*((file_member(name, len(data)), data) for name, data in PHOTOS.items()), (file_member("../x", 1), b"x")]
    )
    message = refusal(train, serve(Turn(bad)), digest(bad))
    assert "entry '../x' points outside its folder" in message
    assert names_beside(train) == []


def test_an_archive_on_disk_is_checked_unpacked_and_left_alone(train, tmp_path):
    mine = tmp_path / "mine.tgz"
    mine.write_bytes(ARCHIVE)
    assert unpack_photos(train, mine, SHA) == COUNTS
    assert whole(train)
    assert mine.read_bytes() == ARCHIVE
    assert names_beside(train) == []
    with pytest.raises(UserError, match="not empty"):
        unpack_photos(train, mine, SHA)
    other = train.with_name("other")
    with pytest.raises(UserError, match=f"has sha256 {SHA}, expected {PUBLIC_SHA256}"):
        unpack_photos(other, mine)
    for path in (tmp_path / "absent.tgz", tmp_path):
        with pytest.raises(UserError, match="can't read"):
            unpack_photos(other, path)
    assert mine.read_bytes() == ARCHIVE
    assert not other.exists()
