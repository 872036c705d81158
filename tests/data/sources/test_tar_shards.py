"""Tar files of samples: the pictures where they lie, whatever else is in them, and refusals before anything is read."""

import random
import tarfile

import pytest

from flowerml.data.decode import BadImage
from flowerml.data.location import Span
from flowerml.data.scan import scan_folder
from flowerml.data.sources import tar_shards
from flowerml.errors import UserError
from tests.data.pictures import encode, put_classes, scene
from tests.data.sources.shards import add, sample, shard, shards_of
from tests.data.sources.tables import read

COUNTS = {"daisy": 4, "rose": 3, "tulip": 3}
JPEG = encode(scene(1), "JPEG")
TWO = (("r.jpg", JPEG), ("r.cls", "rose"), ("t.jpg", encode(scene(2), "JPEG")), ("t.cls", "tulip"))


@pytest.fixture
def root(tmp_path):
    return put_classes(tmp_path / "photos", COUNTS)


def keys(path, **options):
    return [file.key for file in read(path, **options).files]


def test_a_folder_a_pattern_and_one_file_are_the_pictures_of_the_folder(root, tmp_path):
    folder = shards_of(root, tmp_path / "shards")
    (folder / "README.txt").write_text("notes")
    expected = scan_folder(root, read(root))
    one = shards_of(root, tmp_path / "one", count=1) / "flowers-000.tar"
    for path in (folder, folder / "flowers-{000..002}.tar", one):
        layout = read(path)
        assert layout.classes == tuple(COUNTS)
        scanned = scan_folder(path, layout)
        assert scanned.digest == expected.digest
        assert scanned.bad == ()
    first = read(folder).files[0]
    assert first.file == f"{folder}/flowers-000.tar/daisy/00.jpg"
    assert first.locate(folder).read() == (root / "daisy" / "00.jpg").read_bytes()
    assert {path.name for path in folder.iterdir()} == {"README.txt", *(f"flowers-00{n}.tar" for n in range(3))}


def test_a_folder_that_has_sub_folders_is_one_of_classes(root, tmp_path):
    shards_of(root, root)
    assert [file.locate(root) for file in read(root).files] == [root / file.file for file in read(root).files]


def test_any_kind_of_tar_header_and_long_names(tmp_path):
    for number, kind in enumerate((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        path = tmp_path / f"{number}.tar"
        name = f"{'x' * 90}/é{'y' * 100 if kind != tarfile.USTAR_FORMAT else ''}"
        with tarfile.open(path, "w", format=kind) as tar:
            add(tar, "x" * 90, type=tarfile.DIRTYPE)
            add(tar, f"{name}.PNG", encode(scene(3), "PNG"))
            add(tar, f"{name}.cls", b"rose\n")
            for member, data in TWO[2:]:
                add(tar, member, data if isinstance(data, bytes) else data.encode())
        assert keys(path) == [f"rose/{name.split('/')[1]}.PNG", "tulip/t.jpg"]


def test_other_members_masks_and_hidden_files_are_passed_over_and_names_may_have_dots(tmp_path):
    path = shard(
        tmp_path / "a.tar",
        *TWO,
        ("r.json", "{}"),
        ("r.seg.png", b"a mask"),
        ("._r.jpg", b"of macOS"),
        (".DS_Store", b""),
        ("x/my.photo.jpg", JPEG + b"\0"),
        ("x/my.photo.cls", "rose"),
    )
    assert keys(path) == ["rose/my.photo.jpg", "rose/r.jpg", "tulip/t.jpg"]


def test_numbers_are_named_by_classes_txt(root, tmp_path):
    folder = tmp_path / "s"
    shard(folder / "a.tar", *TWO[:1], ("r.cls", "1"), TWO[2], ("t.cls", " 0\n"))
    with pytest.raises(UserError, match=r"no picture of rose, tulip; expected rose, tulip; found 0, 1 \(numbers: name"):
        read(folder, ("rose", "tulip"))
    assert read(folder).classes == ("0", "1"), "--classes folders takes labels as they are"
    (folder / "classes.txt").write_text("tulip\nrose\n")
    assert keys(folder) == keys(folder / "a.tar") == ["rose/r.jpg", "tulip/t.jpg"]
    (folder / "classes.txt").write_text("tulip\n")
    with pytest.raises(UserError, match=r"classes.txt: has 1 names, and a.tar: r.jpg has the number 1"):
        read(folder)
    (folder / "classes.txt").write_text("tulip\ntulip\n")
    with pytest.raises(UserError, match=r"classes.txt: names tulip twice"):
        read(folder)
    (folder / "classes.txt").write_bytes(b"\xff\n")
    with pytest.raises(UserError, match=r"classes.txt: can't be read"):
        read(folder)


def test_samples_of_one_name_in_two_files_have_the_files_name_too(tmp_path):
    for name in "ab":
        shard(
            tmp_path / f"{name}.tar", ("1.jpg", JPEG + name.encode()), ("1.cls", "rose"), *TWO[2:][: 2 * (name == "a")]
        )
    assert keys(tmp_path) == ["rose/a.tar/1.jpg", "rose/b.tar/1.jpg", "tulip/t.jpg"]


LINK = {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}
REFUSED = {
    "a link": (("r.jpg", b"", LINK), r"member 'r.jpg' is a link: the file is refused, nothing of it is read"),
    "a hard link": (("r.jpg", b"", {"type": tarfile.LNKTYPE, "linkname": "t.jpg"}), r"member 'r.jpg' is a link"),
    "a device": (("d.jpg", b"", {"type": tarfile.CHRTYPE}), r"member 'd.jpg' is neither a plain file nor a folder"),
    "a pipe": (("d.jpg", b"", {"type": tarfile.FIFOTYPE}), r"member 'd.jpg' is neither a plain file nor a folder"),
    "upwards": (("../r.jpg", JPEG), r"member '../r.jpg' leads out of its folder"),
    "upwards later": (("a/../../r.jpg", JPEG), r"leads out of its folder"),
    "upwards in Windows": (("..\\r.jpg", JPEG), r"leads out of its folder"),
    "absolute": (("/etc/r.jpg", JPEG), r"member '/etc/r.jpg' leads out of its folder"),
    "no label": (("x.jpg", JPEG), r"'x.jpg' has no label: write its class into a member 'x.cls'"),
    "a member twice": (TWO[0], r"member 'r.jpg' is there twice"),
    "two pictures": (("r.png", JPEG), r"sample 'r' has two pictures, 'r.jpg' and 'r.png'"),
    "a long label": (("x.cls", "y" * 5000), r"member 'x.cls' has 5,000 bytes \(allowed: 4,096\)"),
    "a label in Latin-1": ((("x.jpg", JPEG), ("x.cls", b"ros\xe9")), r"member 'x.cls' is not UTF-8: write the class"),
    "an empty label": ((("x.jpg", JPEG), ("x.cls", " ")), r"a.tar: x.jpg: the label is empty"),
    "several classes": ((("x.jpg", JPEG), ("x.cls", "rose,tulip")), r"the label 'rose,tulip' names several classes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_member_is_refused_in_one_line(tmp_path, case):
    members, message = REFUSED[case]
    path = shard(tmp_path / "a.tar", *TWO, *(members if isinstance(members[0], tuple) else (members,)))
    with pytest.raises(UserError, match=message) as refused:
        read(path)
    assert "\n" not in str(refused.value)
    assert [*tmp_path.iterdir()] == [path]


def test_a_picture_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tar_shards, "MAX_PICTURE_BYTES", 100)
    with pytest.raises(UserError, match=r"member 'r.jpg' has [\d,]+ bytes \(allowed: 100\)"):
        read(shard(tmp_path / "a.tar", *TWO))


@pytest.fixture
def whole(tmp_path):
    return shard(tmp_path / "a.tar", *TWO)


def test_a_file_that_is_cut_off_anywhere_or_damaged_is_refused(whole):
    data = whole.read_bytes()
    with tarfile.open(whole) as tar:
        members = tar.getmembers()
    ends = [
        members[0].offset_data + 10,
        members[1].offset + 100,
        members[2].offset_data + 1,
        members[3].offset_data + 2,
    ]
    for number, end in enumerate(ends):
        path = whole.with_name(f"{number}.tar")
        path.write_bytes(data[:end])
        with pytest.raises(UserError, match=r"(not a whole, uncompressed tar file|is cut off)"):
            read(path)
    header = members[2].offset
    whole.write_bytes(data[:header] + b"x" * 512 + data[header + 512 :])
    with pytest.raises(UserError, match=rf"not a whole, uncompressed tar file \(no header at byte {header:,}\)"):
        read(whole)
    whole.write_bytes(data[: members[3].offset_data + 512])
    assert len(read(whole).files) == 2, "the zeros at the end may be missing"


def test_what_is_no_tar_and_a_compressed_one_are_refused(tmp_path):
    bad = tmp_path / "bad.tar"
    bad.write_bytes(b"no tar at all" * 100)
    with pytest.raises(UserError, match="not a whole, uncompressed tar file"):
        read(bad)
    bad.write_bytes(b"")
    with pytest.raises(UserError, match="not a whole, uncompressed tar file"):
        read(bad)
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as tar:
        add(tar, "r.jpg", JPEG)
    with pytest.raises(UserError, match=r"c.tar.gz: not a whole, uncompressed tar file .*decompress a .tar.gz"):
        read(tmp_path / "c.tar.gz")
    empty = shard(tmp_path / "e.tar", ("notes.txt", "x"))
    with pytest.raises(UserError, match=r"no pictures with labels in it \(members key.jpg and key.cls\)"):
        read(empty)


def test_files_of_a_pattern_that_are_missing_are_counted(root, tmp_path):
    folder = shards_of(root, tmp_path / "shards")
    with pytest.raises(UserError, match=r"2 of 5 files are not there, for example '.*flowers-003.tar'"):
        read(folder / "flowers-{000..004}.tar")
    with pytest.raises(UserError, match="no files of that pattern: the first number is larger"):
        read(folder / "flowers-{2..0}.tar")
    with pytest.raises(UserError, match=r"1 of 1 files are not there"):
        read(folder / "none.tar")


def test_a_folder_with_the_files_of_several_splits_is_refused(root, tmp_path):
    folder = shards_of(root, tmp_path / "shards", count=2)
    for number, name in enumerate(("train-000.tar", "Test.tar")):
        (folder / f"flowers-{number:03d}.tar").rename(folder / name)
    with pytest.raises(
        UserError, match=r"files of several splits \(test, train\), .*pattern such as test-{00000..00001}.tar"
    ):
        read(folder)
    (folder / "Test.tar").rename(folder / "trainees.tar")
    assert len(read(folder).files) == 10


def test_bytes_that_are_changed_anywhere_are_read_or_refused_in_one_line(whole):
    """Damage in headers is refused, in a picture it is the picture's; nothing else is raised."""
    data, rng = whole.read_bytes(), random.Random(7)
    places = [at for at in range(len(data)) if data[at] or at % 512 < 160]
    for number in range(400):
        changed = bytearray(data)
        for _ in range(rng.choice((1, 1, 3))):
            changed[rng.choice(places)] = rng.randrange(256)
        path = whole.with_name(f"{number}.tar")
        path.write_bytes(changed[: len(changed) if number % 3 else rng.randrange(len(changed))])
        try:
            read(path)
        except UserError as refused:
            assert "\n" not in str(refused)  # noqa: PT017
        path.unlink()


def test_the_index_is_made_once_for_a_file_that_does_not_change(whole, monkeypatch):
    monkeypatch.setattr("flowerml.data.scan_cache._MIN_AGE_NS", -(10**12))
    expected = read(whole)
    monkeypatch.setattr(tar_shards, "_members", lambda _: pytest.fail("read again"))
    tar_shards.cached_index.__globals__["_index"].cache_clear()  # as another process
    assert read(whole) == expected
    monkeypatch.undo()
    shard(whole, *TWO, *[("new.jpg", JPEG + b"\0"), ("new.cls", "tulip")])
    assert len(read(whole).files) == 3


def test_a_picture_that_can_not_be_read_any_more_says_so(whole):
    span = read(whole).files[0].locate(whole)
    whole.write_bytes(b"short")
    with pytest.raises(BadImage, match=r"a.tar is shorter than it was when it was listed"):
        span.read()
    with pytest.raises(BadImage, match="No such file"):
        Span(whole.with_name("none.tar"), 0, 5).read()


def test_a_bad_picture_is_listed_by_its_file_and_name(tmp_path):
    path = shard(
        tmp_path / "a.tar", *TWO, ("x.jpg", b"<html>"), ("x.cls", "rose"), *sample(file_of(tmp_path), "y", "rose")
    )
    scanned = scan_folder(path, read(path))
    assert [bad.file for bad in scanned.bad] == [f"{path}/x.jpg"]


def file_of(folder):
    file = folder / "y.jpg"
    file.write_bytes(encode(scene(9), "JPEG"))
    return file
