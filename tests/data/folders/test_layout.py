"""Class names come from folder names, never from their position; what is odd about a folder is said or refused, never
guessed.
"""

import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from flowerml.data.folders import read_layout
from flowerml.errors import UserError
from flowerml.tasks.flowers import ALIASES, CLASSES, FlowersTask

FLOWERS = ("daisy", "dandelion", "rose", "sunflower", "tulip")


def touch(root, *files):
    """Empty files: which files count is decided by their names alone."""
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def keys(layout):
    return [found.key for found in layout.files]


def refusal(root, classes, aliases=ALIASES):
    with pytest.raises(UserError) as caught:
        read_layout(root, classes, aliases)
    assert caught.value.exit_code == 2
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_task_has_the_five_flowers_and_the_public_plurals(tmp_path):
    assert CLASSES == FLOWERS
    touch(tmp_path, "daisy/1.jpg", "dandelion/1.jpg", "roses/1.jpg", "sunflowers/1.jpg", "tulips/1.jpg")
    layout = FlowersTask().layout(tmp_path, None)
    assert layout.classes == FLOWERS
    assert [(found.file, found.label, found.key) for found in layout.files if found.label == "rose"] == [
        ("roses/1.jpg", "rose", "rose/1.jpg")
    ]
    assert keys(layout) == [f"{name}/1.jpg" for name in FLOWERS]
    assert layout.left_out == ()


def test_singular_and_plural_folders_list_the_same_keys(tmp_path):
    names = (
        ("daisy", "dandelion", "rose", "sunflower", "tulip"),
        ("daisy", "dandelion", "roses", "sunflowers", "tulips"),
    )
    singular, plural = (
        touch(tmp_path / kind, *(f"{name}/{i}.jpg" for name in names[i] for i in range(3)))
        for i, kind in enumerate("ab")
    )
    assert keys(FlowersTask().layout(singular, None)) == keys(FlowersTask().layout(plural, None))


def test_two_folders_for_one_class_are_refused(tmp_path):
    touch(tmp_path, *(f"{name}/1.jpg" for name in FLOWERS), "roses/2.jpg")
    for classes in (CLASSES, ("folders",)):
        message = refusal(tmp_path, classes)
        assert "rose and roses both mean class rose" in message


def test_a_class_that_is_really_called_roses_keeps_its_name(tmp_path):
    touch(tmp_path, "rose/1.jpg", "roses/2.jpg", "tulips/1.jpg")
    layout = read_layout(tmp_path, ("roses", "tulip"), ALIASES)
    assert keys(layout) == ["roses/2.jpg", "tulip/1.jpg"]
    assert layout.left_out == ("rose",)
    assert keys(read_layout(tmp_path, ("rose", "roses"), ALIASES)) == ["rose/1.jpg", "roses/2.jpg"]


def test_extra_folders_are_left_out_and_named(tmp_path):
    touch(tmp_path, *(f"{name}/1.jpg" for name in FLOWERS), "orchid/1.jpg", "weeds/1.jpg", "empty_one/notes.txt")
    layout = FlowersTask().layout(tmp_path, None)
    assert layout.left_out == ("empty_one", "orchid", "weeds")
    assert keys(layout) == [f"{name}/1.jpg" for name in FLOWERS]


def test_missing_classes_show_expected_against_found(tmp_path):
    message = refusal(touch(tmp_path, "daisy/1.jpg", "Rose/1.jpg", "orchid/1.jpg"), CLASSES)
    assert "no folder for dandelion, rose, sunflower, tulip" in message
    assert "expected daisy, dandelion, rose, sunflower, tulip" in message
    assert "found Rose, daisy, orchid" in message
    assert str(tmp_path) in message
    assert "found no sub-folders" in refusal(touch(tmp_path / "flat", "1.jpg"), CLASSES)


def test_folders_takes_every_sub_folder(tmp_path):
    touch(tmp_path, "zebra/1.jpg", "ant/1.jpg", "middle/1.jpg")
    layout = read_layout(tmp_path, ("folders",), ALIASES)
    assert layout.classes == ("ant", "middle", "zebra")
    assert layout.left_out == ()
    assert len(layout.files) == 3
    assert "sub-folders" in refusal(touch(tmp_path / "flat", "1.jpg"), ("folders",))


def test_classes_are_in_the_order_of_their_names_however_they_were_given(tmp_path):
    touch(tmp_path, "b/1.jpg", "a/1.jpg", "c/1.jpg")
    for given in (("c", "a", "b"), ("b", "c", "a")):
        assert read_layout(tmp_path, given, {}).classes == ("a", "b", "c")


def test_a_class_named_twice_does_not_count_its_pictures_twice(tmp_path):
    touch(tmp_path, "a/1.jpg", "a/2.jpg", "b/1.jpg")
    try:
        layout = read_layout(tmp_path, ("a", "a", "b"), {})
    except UserError:
        return  # to refuse it is as good
    assert layout.classes == ("a", "b")
    assert keys(layout) == ["a/1.jpg", "a/2.jpg", "b/1.jpg"]


def test_hidden_folders_and_litter_are_ignored(tmp_path):
    touch(tmp_path, "a/1.jpg", "b/1.jpg", ".git/1.jpg", ".ipynb_checkpoints/1.jpg", "manifest.csv", "stray.jpg")
    touch(
        tmp_path,
        "a/._1.jpg",
        "a/.DS_Store",
        "a/Thumbs.db",
        "a/notes.txt",
        "a/1.jpg.txt",
        "a/jpg",
        "a/deeper/2.jpg",
        "a/3.xcf",
        "a/4.ico",
    )
    (tmp_path / "a" / "folder.jpg").mkdir()
    layout = read_layout(tmp_path, ("folders",), {})
    assert layout.classes == ("a", "b")
    assert layout.left_out == ()
    assert keys(layout) == ["a/1.jpg", "a/deeper/2.jpg", "b/1.jpg"]


def test_every_suffix_counts_in_any_case(tmp_path):
    names = ["a.JPG", "b.Jpeg", "c.PNG", "d.webp", "e.bMp", "f.GIF", "g.tif", "h.TIFF", "i.jpg", "j.two.dots.jpg"]
    touch(tmp_path, "y/1.jpg", *(f"x/{name}" for name in names))
    assert keys(read_layout(tmp_path, ("x", "y"), {})) == [*(f"x/{name}" for name in names), "y/1.jpg"]


def test_spaces_accents_and_newlines_in_names_stay_as_they_are(tmp_path):
    folders = ["new\nline", "with space", "été", "花"]
    names = ["a b.jpg", "line\nbreak.jpg", "naïve ü.jpg", "tab\there.jpg", "'quoted\".jpg", "a,b;c.jpg"]
    touch(tmp_path, *(f"{folder}/{name}" for folder in folders for name in names))
    layout = read_layout(tmp_path, ("folders",), {})
    assert layout.classes == tuple(sorted(folders))
    assert keys(layout) == sorted(f"{folder}/{name}" for folder in folders for name in names)
    assert all((tmp_path / found.file).is_file() for found in layout.files)


def test_names_that_are_not_utf8_are_listed(tmp_path):
    touch(tmp_path, "a/1.jpg", "b/1.jpg")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a/\xff\xfe.jpg")).touch()
    assert len(read_layout(tmp_path, ("a", "b"), {}).files) == 3


def test_a_link_to_a_picture_or_folder_counts(tmp_path):
    touch(tmp_path, "elsewhere/1.jpg", "data/a/own.jpg")
    (tmp_path / "data" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "a" / "linked.jpg").symlink_to(tmp_path / "elsewhere" / "1.jpg")
    assert keys(read_layout(tmp_path / "data", ("a", "b"), {})) == ["a/linked.jpg", "a/own.jpg", "b/1.jpg"]


def test_a_file_or_nothing_in_place_of_the_folder_is_said(tmp_path):
    touch(tmp_path, "a.jpg")
    assert "a.jpg' is a file" in refusal(tmp_path / "a.jpg", CLASSES)
    assert "nowhere' does not exist" in refusal(tmp_path / "nowhere", CLASSES)


def test_a_file_in_place_of_a_class_folder_is_a_missing_class(tmp_path):
    touch(tmp_path, "a/1.jpg", "b")
    assert "no folder for b; expected a, b; found a" in refusal(tmp_path, ("a", "b"))


def test_a_class_without_pictures_is_refused_by_name(tmp_path):
    touch(tmp_path, "a/1.jpg", "b/readme.txt", "c/1.jpg")
    message = refusal(tmp_path, ("folders",))
    assert "in the folder of b" in message
    assert ".webp" in message


def test_a_single_class_is_refused(tmp_path):
    touch(tmp_path, "a/1.jpg", "b/1.jpg")
    assert "at least two" in refusal(tmp_path, ("a",))


def test_the_order_in_which_the_disk_lists_files_does_not_matter(tmp_path, monkeypatch):
    touch(tmp_path, *(f"{folder}/{i}.jpg" for folder in "abc" for i in range(12)))
    touch(tmp_path, *(f"a/{folder}/{i}.jpg" for folder in "xyz" for i in range(3)))
    listed, scanned = Path.iterdir, os.scandir
    layouts = []
    for back in (False, True):
        monkeypatch.setattr(Path, "iterdir", lambda path, back=back: iter(sorted(listed(path), reverse=back)))
        monkeypatch.setattr(
            os,
            "scandir",
            lambda path, back=back: nullcontext(sorted(scanned(path), key=lambda entry: entry.name, reverse=back)),
        )
        layouts.append(read_layout(tmp_path, ("folders",), {}))
    assert layouts[0] == layouts[1]
    assert keys(layouts[0])[:3] == ["a/0.jpg", "a/1.jpg", "a/10.jpg"]
