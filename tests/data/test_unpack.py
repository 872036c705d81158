"""Archives that mean harm, or are damaged, are refused whole: nothing of them stays, nothing outside the folder is
touched.
"""

import gzip
import os
import random
import stat
import tarfile

import pytest

from flowerml.data.download import archive as module
from flowerml.data.download.archive import BadArchive, require_space, unpack, unpacking_dir
from flowerml.data.download.flower_photos import unpack_photos
from flowerml.errors import UserError
from tests.data.archive_server import COUNTS, PHOTOS, digest, file_member, tgz, tree, whole

GOOD = [(file_member(name, len(data)), data) for name, data in PHOTOS.items()]


def put_archive(tmp_path, data):
    path = tmp_path / "archive.tgz"
    path.write_bytes(data if isinstance(data, bytes) else tgz(data))
    return path


def photos(tmp_path, data):
    archive = put_archive(tmp_path, data)
    return unpack_photos(tmp_path / "data" / "train", archive, digest(archive.read_bytes()))


def refusal(tmp_path, data):
    """The message; no folder, no half of it, and nothing new anywhere else."""
    archive = put_archive(tmp_path, data)
    (tmp_path / "data").mkdir(exist_ok=True)
    before = tree(tmp_path)
    with pytest.raises(BadArchive) as caught:
        photos(tmp_path, archive.read_bytes())
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(archive))
    assert tree(tmp_path) == before
    assert list((tmp_path / "data").iterdir()) == []
    return message


def outcome(archive, target):
    """The refusal's message, or nothing where it was unpacked."""
    try:
        unpack(archive, target, lambda stage: stage)
    except UserError as error:
        return str(error)
    return ""


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


@pytest.mark.parametrize("where", ["one large file", "many files", "behind the end", "a header"])
def test_a_bomb_is_refused_before_it_has_filled_the_disk(tmp_path, monkeypatch, where):
    monkeypatch.setattr(module, "GROWTH_ALLOWANCE", 300_000)
    zeros = bytes(30_000_000)
    if where == "one large file":
        data = tgz([*GOOD, (file_member("flower_photos/roses/bomb.jpg", len(zeros)), zeros)])
    elif where == "many files":
        data = tgz(
            [
                *GOOD,
                *(
                    (file_member(f"flower_photos/roses/b{number}.jpg", 100_000), zeros[:100_000])
                    for number in range(300)
                ),
            ]
        )
    elif where == "behind the end":
        data = gzip.compress(gzip.decompress(tgz(GOOD)) + zeros)
    else:
        data = tgz(
            [*GOOD, (file_member("flower_photos/roses/n.jpg", 1, pax_headers={"comment": "0" * len(zeros)}), b"x")]
        )
    assert "as only a decompression bomb does" in refusal(tmp_path, data)


def test_a_size_that_is_only_claimed_is_refused(tmp_path):
    claimed = file_member("flower_photos/roses/claimed.jpg", 10**12).tobuf()
    assert "is not a whole .tgz" in refusal(tmp_path, gzip.compress(claimed + b"x" * 512))


def test_too_many_entries_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_MEMBERS", len(GOOD))
    assert photos(tmp_path, GOOD) == COUNTS
    (tmp_path / "b").mkdir()
    assert f"more than {len(GOOD)} entries" in refusal(
        tmp_path / "b", [*GOOD, (file_member("flower_photos/more", 0), b"")]
    )


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


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.9999])
def test_a_cut_archive_is_refused(tmp_path, share):
    data = tgz(GOOD)
    assert "is not a whole .tgz" in refusal(tmp_path, data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", ["zip", "tar", "page", "flipped", "checksum", "gzip of a text"])
def test_other_files_and_damaged_ones_are_refused(tmp_path, kind):
    good = tgz(GOOD)
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 0xFF
    data = {
        "zip": b"PK\3\4" + bytes(500),
        "tar": gzip.decompress(good),
        "page": b"<!doctype html>",
        "flipped": bytes(flipped),
        "checksum": good[:-8] + bytes(4) + good[-4:],
        "gzip of a text": gzip.compress(b"some text " * 300),
    }[kind]
    assert "is not a whole .tgz" in refusal(tmp_path, data)


@pytest.mark.parametrize(
    "entries",
    [
        {},
        {"readme.txt": b"x"},
        {"a/1.jpg": b"x"},
        {"photos/a/1.jpg": b"x"},
        {"photos/a/1.jpg": b"x", "photos/b/notes.txt": b"x"},
        {"x/roses/1.jpg": b"x", "x/rose/1.jpg": b"x"},
        {"1.jpg": b"x", "2.jpg": b"x"},
    ],
    ids=[
        "empty",
        "no folder",
        "one class",
        "one class in a folder",
        "a class without pictures",
        "rose twice",
        "no classes",
    ],
)
def test_an_archive_that_is_no_set_of_classes_is_refused(tmp_path, entries):
    message = refusal(tmp_path, tgz(entries))
    assert "is not a set of pictures with one folder per class" in message or (
        entries == {} and "not a whole" in message
    )


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


def test_random_bytes_and_random_damage_never_end_otherwise(tmp_path):
    """Whatever is in the file: whole, or refused in one line with nothing left."""
    rng = random.Random(5)
    plain = gzip.decompress(tgz(GOOD))
    for number in range(40):
        damaged = bytearray(plain)
        for _ in range(rng.randrange(1, 6)):
            header = 512 * rng.randrange(len(plain) // 512)
            damaged[header + rng.randrange(160)] = rng.randrange(256)
        target = tmp_path / f"{number}" / "train"
        message = outcome(put_archive(tmp_path, gzip.compress(bytes(damaged), 1)), target)
        assert target.exists() == (message == "")
        assert "\n" not in message
        assert not unpacking_dir(target).exists()


def test_space_is_counted_for_the_archive_and_what_it_holds(tmp_path):
    require_space(tmp_path, 1000, 1000)
    with pytest.raises(UserError, match=r"needed \(1000000.0 GB to fetch, about 1100000.0 GB unpacked\)"):
        require_space(tmp_path, 10**15, 10**15)
