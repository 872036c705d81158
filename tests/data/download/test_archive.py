"""Unpacking: only plain files and folders below the target, all of them or none, with the process's permissions."""

import os
import stat
import tarfile

import pytest

from flowerml.data.download.archive import require_space, unpack, unpacking_dir
from flowerml.errors import UserError
from tests.data.download.archive_helpers import GOOD, photos, put_archive, refusal
from tests.data.download.archive_server import COUNTS, PHOTOS, file_member, tgz, tree, whole


def test_the_photos_come_out_whole(tmp_path):
    assert photos(tmp_path, GOOD) == COUNTS
    assert whole(tmp_path / "data" / "train")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["train"]


@pytest.mark.parametrize(
    "name", ["/tmp/flowerml-evil", "../evil", "flower_photos/../../evil", "a/..", "..", "flower_photos/roses\\..\\evil"]
)
def test_paths_that_lead_outside_are_refused(tmp_path, name):
    message = refusal(tmp_path, [*GOOD, (file_member(name, 4), b"evil")])
    assert f"entry {name!r} points outside its folder" in message
    assert not os.path.lexists("/tmp/flowerml-evil")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE], ids=["symbolic", "hard"])
@pytest.mark.parametrize("to", ["/etc/hostname", "../../../outside", "flower_photos/LICENSE.txt"])
def test_links_are_refused_wherever_they_lead(tmp_path, kind, to):
    link = file_member("flower_photos/roses/link.jpg", type=kind, linkname=to)
    assert "entry 'flower_photos/roses/link.jpg' is a link" in refusal(tmp_path, [*GOOD, (link, None)])


def test_a_link_to_a_folder_is_refused_before_anything_is_written_through_it(tmp_path):
    (tmp_path / "outside").mkdir()
    link = file_member("flower_photos/through", type=tarfile.SYMTYPE, linkname=str(tmp_path / "outside"))
    refusal(tmp_path, [(link, None), (file_member("flower_photos/through/evil.jpg", 4), b"evil"), *GOOD])


@pytest.mark.parametrize(
    "kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE], ids=["character", "block", "fifo"]
)
def test_devices_and_pipes_are_refused(tmp_path, kind):
    device = file_member("flower_photos/roses/1.jpg", type=kind, devmajor=1, devminor=5)
    assert "is neither a plain file nor a folder" in refusal(tmp_path, [(device, None), *GOOD])


def test_a_sparse_file_is_refused(tmp_path):
    sparse = file_member("flower_photos/roses/1.jpg", type=tarfile.GNUTYPE_SPARSE)
    assert "is neither a plain file nor a folder" in refusal(tmp_path, [(sparse, None), *GOOD])


@pytest.mark.parametrize(
    "extra",
    [
        [(file_member("flower_photos/roses/0.jpg", 5), b"twice")],
        [(file_member("flower_photos/roses/0.jpg", type=tarfile.DIRTYPE), None)],
        [(file_member("flower_photos/roses", 1), b"x")],
        [(file_member("flower_photos/roses/0.jpg/deeper.jpg", 1), b"x")],
    ],
    ids=["file twice", "folder over file", "file over folder", "file in file"],
)
def test_an_entry_never_replaces_another(tmp_path, extra):
    assert "is there twice" in refusal(tmp_path, [*GOOD, *extra])


@pytest.mark.parametrize("top", ["", "photos/", "./photos/", "./"])
def test_class_folders_may_lie_at_the_top_or_in_one_folder(tmp_path, top):
    entries = {f"{top}{name}/1.jpg": name.encode() for name in ("roses", "lily")}
    if top == "photos/":
        entries |= {"._photos": b"litter", "photos/roses/._1.jpg": b"litter"}
    assert photos(tmp_path, tgz(entries)) == {"lily": 1, "rose": 1}
    assert tree(tmp_path / "data" / "train") == {"lily/1.jpg": b"lily", "rose/1.jpg": b"roses"}


def test_permissions_and_owner_are_the_processes_own(tmp_path):
    before = os.umask(0o022)
    try:
        odd = [(file_member(name, len(data), mode=0o4600, uid=12345), data) for name, data in PHOTOS.items()]
        folder = (file_member("flower_photos/roses", type=tarfile.DIRTYPE, mode=0), None)
        photos(tmp_path, [folder, *odd])
    finally:
        os.umask(before)
    for path in (tmp_path / "data" / "train").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)
        assert path.stat().st_uid == os.geteuid()


@pytest.mark.parametrize(
    "stop", [KeyboardInterrupt(), MemoryError(), OSError(28, "No space left on device")], ids=lambda e: type(e).__name__
)
def test_a_stop_in_the_middle_leaves_nothing(tmp_path, stop):
    archive = put_archive(tmp_path, GOOD)
    target = tmp_path / "data" / "train"

    def arrange(stage):
        assert len(tree(stage)) == len(PHOTOS)
        raise stop

    with pytest.raises(UserError if isinstance(stop, OSError) else type(stop)):
        unpack(archive, target, arrange)
    assert list(target.parent.iterdir()) == []


def test_what_stands_in_the_way_at_the_last_moment_is_not_replaced(tmp_path):
    archive = put_archive(tmp_path, GOOD)
    target = tmp_path / "train"

    def arrange(stage):
        target.mkdir()
        (target / "mine.jpg").write_bytes(b"mine")
        return stage

    with pytest.raises(UserError, match=r"can't unpack into .*not empty"):
        unpack(archive, target, arrange)
    assert tree(target) == {"mine.jpg": b"mine"}
    assert not unpacking_dir(target).exists()


def test_space_is_counted_for_the_archive_and_what_it_holds(tmp_path):
    require_space(tmp_path, 1000, 1000)
    with pytest.raises(UserError, match=r"needed \(1000000.0 GB to fetch, about 1100000.0 GB unpacked\)"):
        require_space(tmp_path, 10**15, 10**15)
