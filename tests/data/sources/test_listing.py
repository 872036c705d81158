"""Keys and classes of a list: those of the folder, whatever order, folder names and Unicode forms it has."""

import os
import unicodedata
from pathlib import Path

import pytest

from flowerml.data.decode import BadImage
from flowerml.data.scan import scan_folder
from flowerml.data.scan_cache import ScanCache
from flowerml.data.sources.listing import ListedPicture, PictureList, list_layout, locations_by_key
from flowerml.data.sources.reading import find_picture
from flowerml.errors import UserError
from flowerml.tasks.flowers import ALIASES
from tests.data.pictures import put_classes, put_scene
from tests.data.sources.tables import read, table_of

NFD = unicodedata.normalize("NFD", "é")


def layout_of(*rows, classes=("folders",), aliases=ALIASES, **options):
    pictures = [
        ListedPicture(path, label, Path(f"{line}.jpg"), f"line {line}", path)
        for line, (path, label) in enumerate(rows, 2)
    ]
    return list_layout(Path("l.csv"), PictureList(pictures), classes, aliases, **options)


def keys(*rows, **options):
    return [file.key for file in layout_of(*rows, **options).files]


KEYS = {
    "below the class folder": (("rose/1.jpg", "tulip/1.jpg"), ["rose/1.jpg", "tulip/1.jpg"]),
    "deeper": (("a/rose/b/1.jpg", "a/tulip/1.jpg"), ["rose/b/1.jpg", "tulip/1.jpg"]),
    "by another name of the class": (("roses/1.jpg", "tulips/x/1.jpg"), ["rose/1.jpg", "tulip/x/1.jpg"]),
    "no class folder": (("1.jpg", "b/2.jpg"), ["rose/1.jpg", "tulip/2.jpg"]),
    "a class folder in a class folder": (("rose/rose/1.jpg", "tulip/1.jpg"), ["rose/rose/1.jpg", "tulip/1.jpg"]),
    "a class above": (("/home/rose/rose/1.jpg", "../tulip/tulip/2.jpg"), ["rose/1.jpg", "tulip/2.jpg"]),
    "another class's folder": (("tulip/1.jpg", "rose/1.jpg"), ["rose/1.jpg", "tulip/1.jpg"]),
}


@pytest.mark.parametrize("case", KEYS)
def test_the_key_is_the_path_below_the_class_folder_else_the_file_name(case):
    (rose, tulip), expected = KEYS[case]
    assert keys((rose, "rose"), (tulip, "tulip")) == expected


def test_files_of_one_name_have_their_whole_paths_and_leave_the_others_alone():
    rows = [("a/1.jpg", "rose"), ("b/1.jpg", "rose"), ("b/2.jpg", "rose"), ("x/1.jpg", "tulip")]
    expected = ["rose/2.jpg", "rose/a/1.jpg", "rose/b/1.jpg", "tulip/1.jpg"]
    assert keys(*rows) == keys(*rows[::-1]) == expected


def test_a_whole_path_that_is_anothers_short_one_makes_all_whole():
    rows = [("1.jpg", "rose"), ("x/1.jpg", "rose"), ("rose/x/1.jpg", "rose"), ("t.jpg", "tulip")]
    assert keys(*rows) == ["rose/1.jpg", "rose/rose/x/1.jpg", "rose/x/1.jpg", "tulip/t.jpg"]


def test_two_pictures_that_would_get_one_key_are_refused():
    with pytest.raises(UserError, match=r"l.csv: line 2 and line 3 have one name, rose/a/1.jpg: rename one"):
        layout_of(("a/1.jpg", "rose"), ("/a/1.jpg", "rose"), ("t.jpg", "tulip"))


def test_two_unicode_forms_of_a_name_have_a_key_each_and_a_single_one_is_nfc():
    rows = [("é.jpg", "rose"), (f"{NFD}.jpg", "rose"), (f"b{NFD}.jpg", "tulip")]
    assert sorted(keys(*rows)) == sorted(["rose/é.jpg", f"rose/{NFD}.jpg", "tulip/bé.jpg"])


def test_labels_have_the_aliases_of_folders_and_are_compared_in_nfc():
    layout = layout_of(("1.jpg", "roses"), ("2.jpg", f"ros{NFD}"), classes=("rose", "rosé"))
    assert layout.classes == ("rose", "rosé")
    assert [file.key for file in layout.files] == ["rose/1.jpg", "rosé/2.jpg"]


def test_labels_that_are_not_asked_for_are_left_out():
    layout = layout_of(("1.jpg", "rose"), ("2.jpg", "tulip"), ("3.jpg", "oak"), classes=("rose", "tulip"))
    assert layout.classes == ("rose", "tulip")
    assert layout.left_out == ("oak",)
    assert len(layout.files) == 2


def test_a_class_without_pictures_is_refused_but_of_a_test_list():
    rows = [("1.jpg", "rose"), ("2.jpg", "tulip")]
    with pytest.raises(
        UserError, match=r"l.csv: no picture of daisy; expected daisy, rose, tulip; found rose, tulip. "
    ):
        layout_of(*rows, classes=("daisy", "rose", "tulip"))
    assert layout_of(*rows, classes=("daisy", "rose", "tulip"), may_lack=True).classes == ("daisy", "rose", "tulip")
    with pytest.raises(UserError, match=r"no picture of daisy"):
        layout_of(*rows, ("3.jpg", "daisies"), classes=("daisy", "rose", "tulip"), may_lack=True)


def test_a_class_may_have_a_separator_in_its_name():
    assert layout_of(("1.jpg", "red, dark"), ("2.jpg", "rose")).classes == ("red, dark", "rose")


def test_a_picture_is_found_by_its_key_whichever_names_its_classes_have(tmp_path):
    root = put_classes(tmp_path / "photos", {"roses": 2, "tulip": 2})
    path = table_of(root)
    for key in ("rose/00.jpg", "roses/00.jpg", "tulip/01.jpg"):
        found = find_picture(path, key, ALIASES)
        assert found.name == key.split("/")[1]
        assert found.is_file()
    with pytest.raises(BadImage, match=r"not in .*photos.csv"):
        find_picture(path, "rose/99.jpg", ALIASES)
    with pytest.raises(BadImage, match="can't be read: No such file"):
        find_picture(tmp_path / "gone.csv", "rose/00.jpg", ALIASES)
    assert find_picture(root, "tulip/00.jpg", ALIASES) == root / "tulip" / "00.jpg"
    put_scene(root / "tulip" / "new.jpg", 99)
    table_of(root)
    assert find_picture(path, "tulip/new.jpg", ALIASES).is_file(), "a list that has changed is read again"
    assert locations_by_key(path, PictureList([]), ALIASES) == {}


def test_the_scan_is_the_folders_and_is_cached(tmp_path, monkeypatch):
    root = put_classes(tmp_path / "photos", {"rose": 3, "tulip": 3})
    path = table_of(root)
    for file in root.rglob("*.jpg"):
        os.utime(file, (1e9, 1e9))
    expected = scan_folder(root, read(root))
    monkeypatch.setattr("flowerml.data.scan_cache._MIN_AGE_NS", -(10**12))  # ctime can't be set
    scanned = scan_folder(path, read(path), ScanCache(path))
    assert scanned.digest == expected.digest
    monkeypatch.setattr("flowerml.data.scan.decode", lambda _: pytest.fail("read again"))
    again = scan_folder(path, read(path), ScanCache(path))
    assert again.pictures == scanned.pictures
