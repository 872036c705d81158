"""One walk for training, checks and prediction: sub-folders at any depth, links once, loops ended, the rest counted."""

import os
from pathlib import Path

import pytest

from flowerml.data.folders import find_pictures, passed_over_line, read_layout
from flowerml.data.folders.kinds import Reason
from flowerml.data.folders.walk import has_lost_pictures, walk_pictures
from flowerml.errors import UserError
from tests.data.pictures import encode, put, scene


def touch(root: Path, *files: str) -> Path:
    for file in files:
        put(root / file, b"")
    return root


def found(root: Path) -> list[str]:
    return sorted(walk_pictures(root).files)


def counted(root: Path) -> dict[tuple[Reason, str], int]:
    return dict(walk_pictures(root).passed_over)


def test_sub_folders_are_taken_at_any_depth(tmp_path):
    touch(tmp_path, "1.jpg", "batch 2/1.jpg", "batch 2/more/3.png", "folder.jpg/4.jpg")
    assert found(tmp_path) == ["1.jpg", "batch 2/1.jpg", "batch 2/more/3.png", "folder.jpg/4.jpg"]


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "jif", "JFIF", "pjpeg", "mpo", "apng"])
def test_other_suffixes_of_formats_that_are_read_count(tmp_path, suffix):
    touch(tmp_path, f"1.{suffix}")
    assert found(tmp_path) == [f"1.{suffix}"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_a_file_without_suffix_is_a_picture_by_its_first_bytes(tmp_path, kind):
    put(tmp_path / "photo", encode(scene(1), kind))
    assert found(tmp_path) == ["photo"]


@pytest.mark.parametrize("name", ["1.jpg_large", "1.jpg?w=600", "1.jpg!d", "1.image", "1.dat", "1.txt"])
def test_a_picture_under_another_suffix_is_a_picture_by_its_first_bytes(tmp_path, name):
    put(tmp_path / name, encode(scene(1), "JPEG"))
    assert found(tmp_path) == [name]


@pytest.mark.parametrize("name", ["1.jpg.bak", "1.jpg~", "1.jpg.part", "1.crdownload", "1.jpg.tmp", "1.orig"])
def test_copies_and_parts_of_downloads_are_no_pictures(tmp_path, name):
    put(tmp_path / name, encode(scene(1), "JPEG"))
    assert found(tmp_path) == []
    assert [reason for reason, _ in counted(tmp_path)] == [Reason.OTHER]


def test_a_text_that_begins_as_a_bitmap_does_is_no_picture(tmp_path):
    put(tmp_path / "notes", b"BMW, seen on Sunday, and other cars")
    put(tmp_path / "notes.txt", b"II*\0 is how a TIFF begins")
    assert counted(tmp_path) == {(Reason.OTHER, "no suffix"): 1, (Reason.OTHER, ".txt"): 1}


@pytest.fixture
def without_heif(monkeypatch):
    """As where pillow-heif is not installed."""
    monkeypatch.setattr("flowerml.data.folders.kinds.can_read_heif", lambda: False)


@pytest.mark.parametrize("name", ["1.heic", "1.HEIF", "1.jxl", "1.cr2", "1.dng"])
def test_formats_that_are_not_read_are_counted_with_the_remedy(tmp_path, name, without_heif):
    put(tmp_path / name, encode(scene(1), "TIFF"))
    line = passed_over_line(walk_pictures(tmp_path).counts("rose"))
    suffix = Path(name).suffix.lower()
    heif = ', or pip install "flowerml[heif]", which reads HEIC' if suffix in (".heic", ".heif") else ""
    assert line == (
        f"passed over: 1 pictures in formats that are not read ({suffix} 1; in rose 1): convert them to JPEG or PNG to"
        f" use them{heif}"
    )


def test_heic_and_avif_are_pictures_by_suffix_and_by_their_first_bytes(tmp_path):
    pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    for name, brand in (("1.heic", b""), ("2.HIF", b""), ("3.avif", b""), ("4", b"heic"), ("5.dat", b"avif")):
        put(tmp_path / name, b"\0\0\0\x18ftyp" + brand)
    assert sorted(walk_pictures(tmp_path).files) == ["1.heic", "2.HIF", "3.avif", "4", "5.dat"]


def test_a_heic_picture_without_suffix_is_counted_as_one(tmp_path, without_heif):
    put(tmp_path / "IMG_1", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    walk = walk_pictures(tmp_path)
    assert dict(walk.passed_over) == {(Reason.CONVERTIBLE, "no suffix"): 1}
    assert has_lost_pictures(walk.counts("a"))


def test_hidden_files_and_those_of_systems_are_counted_apart(tmp_path):
    names = ["__MACOSX/a/1.jpg", "@eaDir/1.jpg", "$RECYCLE.BIN/1.jpg", "lost+found/1.jpg", "Thumbs.db", "desktop.ini"]
    touch(tmp_path, "1.jpg", *names, ".hidden/1.jpg", ".2.jpg", "._1.jpg", ".DS_Store", ".ipynb_checkpoints/1.jpg")
    assert found(tmp_path) == ["1.jpg"]
    reasons = [reason for (reason, _), count in counted(tmp_path).items() for _ in range(count)]
    assert (reasons.count(Reason.SYSTEM), reasons.count(Reason.HIDDEN)) == (6, 5)
    assert not has_lost_pictures(walk_pictures(tmp_path).counts("a"))


class TestLinks:
    def test_a_linked_folder_is_taken_once_under_its_own_path_where_it_has_one(self, tmp_path):
        touch(tmp_path, "here/z/1.jpg", "away/2.jpg")
        root = tmp_path / "here"
        (root / "a").symlink_to(root / "z")
        (root / "b").symlink_to(tmp_path / "away")
        (root / "c").symlink_to(tmp_path / "away")
        assert found(root) == ["b/2.jpg", "z/1.jpg"]
        assert counted(root) == {(Reason.REPEATED, "a"): 1, (Reason.REPEATED, "c"): 1}

    def test_loops_end_and_nothing_above_the_folder_is_taken(self, tmp_path):
        touch(tmp_path, "top/tulip/1.jpg", "top/rose/2.jpg", "away/3.jpg", "away/inner/4.jpg")
        root = tmp_path / "top" / "rose"
        for name, target in (("up", ".."), ("self", "."), ("away", "../../away"), ("me", "me")):
            (root / name).symlink_to(target)
        (tmp_path / "away" / "inner" / "back").symlink_to("..")
        assert found(root) == ["2.jpg", "away/3.jpg", "away/inner/4.jpg"]
        assert {kind: count for (reason, kind), count in counted(root).items() if reason is Reason.REPEATED} == {
            "up": 1,
            "self": 1,
            "back": 1,
        }

    def test_predict_follows_them_too(self, tmp_path):
        touch(tmp_path, "tulip/1.jpg", "p/x.txt")
        (tmp_path / "p" / "linked").symlink_to(tmp_path / "tulip")
        paths, passed_over = find_pictures([tmp_path / "p"])
        assert paths == [tmp_path / "p" / "linked" / "1.jpg"]
        assert [(entry.reason, entry.kind) for entry in passed_over] == [(Reason.OTHER, ".txt")]


def test_a_named_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert counted(tmp_path) == {(Reason.OTHER, "no suffix"): 1}


def test_no_pictures_in_a_folder_says_what_there_is(tmp_path, without_heif):
    touch(tmp_path, "1.heic")
    with pytest.raises(UserError, match=r"no pictures in it .*\.heic 1.*convert them"):
        find_pictures([tmp_path])


def test_a_class_of_heic_pictures_only_is_refused_with_the_remedy(tmp_path, without_heif):
    touch(tmp_path, "a/1.jpg", "b/1.jpg", "c/1.heic")
    with pytest.raises(UserError, match=r"folder of c; there are \.heic: convert them.*--classes a,b"):
        read_layout(tmp_path, ("folders",), {})


def test_what_is_passed_over_is_counted_by_class_and_reason_in_one_line(tmp_path):
    touch(tmp_path, "a/1.jpg", "a/x.txt", "b/1.jpg", "b/x.txt", "b/y.xml", "b/2.jxl", "stray.jpg", "manifest.csv")
    line = passed_over_line(read_layout(tmp_path, ("folders",), {}).passed_over)
    assert line == (
        "passed over: 1 pictures in formats that are not read (.jxl 1; in b 1): convert them to JPEG or PNG to use"
        " them; 1 pictures outside the class folders (.jpg 1): move them into one of the class folders to use them; 3"
        " other files (.txt 2, .xml 1; in b 2, a 1)"
    )
    assert passed_over_line([]) is None


def test_long_counts_are_cut(tmp_path):
    touch(tmp_path, "a/1.jpg", "b/1.jpg", *(f"a/{number}.x{number}" for number in range(9)))
    line = passed_over_line(read_layout(tmp_path, ("a", "b"), {}).passed_over)
    assert "(.x0 1, .x1 1, .x2 1, .x3 1, .x4 1 and 4 more; in a 9)" in line
