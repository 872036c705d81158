"""The flowers task: from a folder and settings to examples of both sides, with remarks a person should read."""

import os
from pathlib import Path

import pytest

from flowerml.data.splits.split import draw_split
from flowerml.errors import UserError
from flowerml.files import write_json
from flowerml.settings import resolve
from flowerml.tasks import task_for
from flowerml.tasks.flowers import FlowersTask
from tests.data.pictures import encode, put, put_classes, put_scene, scene

COUNTS = {"daisy": 5, "dandelion": 5, "rose": 10, "sunflower": 5, "tulip": 5}


def settings_for(root, **given):
    return resolve({"model": "convnextv2_atto", "weights": "none", "train_dir": str(root), **given})[0]


def prepared(root, **given):
    return FlowersTask().prepare(settings_for(root, **given))


SETTINGS = settings_for("anywhere")


@pytest.fixture
def root(tmp_path):
    return put_classes(tmp_path / "data", COUNTS)


def test_every_picture_is_an_example_on_its_side(root):
    data = prepared(root, val_split=0.2)
    assert data.classes == tuple(COUNTS)
    assert tuple(example.id for example in data.train) == data.split.train
    assert tuple(example.id for example in data.val) == data.split.val
    assert len(data.train) + len(data.val) == 30
    assert len(data.val) == 1 + 1 + 2 + 1 + 1
    for example in (*data.train, *data.val):
        assert data.classes[example.label] == example.id.split("/")[0]
        assert example.read().size == (48, 40)


def test_split_seed_and_share_are_the_settings(root):
    by_seed = {prepared(root, split_seed=seed).split.val for seed in (0, 1, 2)}
    assert len(by_seed) == 3
    assert prepared(root, seed=99).split == prepared(root, seed=1).split, "--seed leaves the split alone"
    assert len(prepared(root, val_split=0.4).val) == 12
    assert prepared(root, val_split=0).val == ()


def test_plural_folders_read_from_where_they_lie(tmp_path):
    root = put_classes(tmp_path, {"daisy": 3, "dandelion": 3, "roses": 3, "sunflowers": 3, "tulips": 3})
    data = prepared(root)
    assert {example.id.split("/")[0] for example in data.train} == set(COUNTS)
    assert all(example.read() for example in data.train)


def test_remarks_name_counts_copies_and_folders_left_out(root):
    put(root / "rose" / "copy.jpg", encode(scene(2001), "JPEG", quality=97))
    put_scene(root / "orchid" / "1.jpg", 1)
    text = "\n".join(prepared(root).remarks)
    assert "31 pictures: daisy 5, dandelion 5, rose 11, sunflower 5, tulip 5" in text
    assert "1 are near-duplicates of another (perceptual hash" in text
    assert "warning: folders that are none of the classes are left out: orchid" in text
    assert "can't be read" not in text


def test_remarks_count_what_is_passed_over_and_warn_of_lost_pictures(root):
    put(root / "rose" / "notes.txt", b"")
    assert "passed over: 1 other files (.txt 1; in rose 1)" in prepared(root).remarks
    put(root / "rose" / "1.jxl", b"")
    assert any(line.startswith("warning: passed over: 1 pictures in formats") for line in prepared(root).remarks)


def test_bad_pictures_stop_or_are_left_out_and_kept_on_the_list(root):
    before = prepared(root).split
    put(root / "rose" / "bad.jpg", b"nothing")
    with pytest.raises(UserError, match=r"1 of 31 pictures can't be read(.|\n)*'rose/bad.jpg'"):
        prepared(root)
    data = prepared(root, bad_images="skip")
    assert [entry.file for entry in data.bad] == ["rose/bad.jpg"]
    assert (data.split.train, data.split.val, data.split.digest) == (
        before.train,
        before.val,
        before.digest,
    ), "it moves no other"
    assert data.split.skipped == ("rose/bad.jpg",)
    assert FlowersTask().examples(root, tuple(COUNTS), data.split, SETTINGS)[1] == [], (
        "what was skipped on purpose is not new afterwards"
    )
    assert any("1 pictures can't be read and are left out" in line for line in data.remarks)


@pytest.fixture
def two_labels(root):
    """One photo as `rose/copy.jpg` and, re-compressed, as `tulip/copy.jpg`."""
    put(root / "rose" / "copy.jpg", encode(scene(9001), "JPEG", quality=97))
    put(root / "tulip" / "copy.jpg", encode(scene(9001), "JPEG", quality=60))
    return root


def test_one_photo_under_two_labels_is_refused_with_its_copies_and_remedies(two_labels):
    expected = (
        r"1 photo\(s\) stand under two labels \(.*--duplicates keep.*--duplicates drop\):\n  'rose/copy.jpg' "
        r" 'tulip/copy.jpg'$"
    )
    with pytest.raises(UserError, match=expected):
        prepared(two_labels)


def test_kept_copies_are_trained_on_and_never_judge(two_labels):
    data = prepared(two_labels, duplicates="keep")
    assert {"rose/copy.jpg", "tulip/copy.jpg"} <= set(data.split.train)
    assert any("trained on under both" in line for line in data.remarks)
    assert data.split.skipped == ()


def test_dropped_copies_are_as_if_never_there(root):
    """Same digests as the folder without them: `duplicates` need not stand in the identity."""
    before = prepared(root).split
    put(root / "rose" / "copy.jpg", encode(scene(9001), "JPEG", quality=97))
    put(root / "tulip" / "copy.jpg", encode(scene(9001), "JPEG", quality=60))
    data = prepared(root, duplicates="drop")
    assert (data.split.digest, data.split.data_digest) == (before.digest, before.data_digest)
    assert data.split.skipped == ("rose/copy.jpg", "tulip/copy.jpg")
    assert any("warning: 2 copies" in line for line in data.remarks)
    assert FlowersTask().examples(root, tuple(COUNTS), data.split, SETTINGS)[1] == []


def test_dropping_the_last_picture_of_a_class_is_refused(tmp_path):
    root = put_classes(tmp_path, {"a": 2, "b": 1})
    put(root / "a" / "copy.jpg", (root / "b" / "00.jpg").read_bytes())
    with pytest.raises(UserError, match="--duplicates drop leaves no picture of b"):
        prepared(root, classes="folders", duplicates="drop")


def test_folders_makes_a_task_of_any_sub_folders(tmp_path):
    root = put_classes(tmp_path, {"oak": 3, "ash": 3})
    data = prepared(root, classes="folders")
    assert data.classes == ("ash", "oak")
    assert {example.id: example.label for example in data.train}["oak/00.jpg"] == 1 or "oak/00.jpg" in data.split.val
    with pytest.raises(UserError, match="expected daisy"):
        prepared(root)


def test_a_test_folder_that_lacks_classes_is_evaluated_on_the_others_with_a_remark(root, tmp_path):
    data = prepared(root)
    put_classes(tmp_path / "test", {"rose": 2, "tulips": 3})
    (tmp_path / "test" / "daisy").mkdir()
    examples, remarks = FlowersTask().test_examples(tmp_path / "test", data.classes, data.split, SETTINGS, None)
    assert [example.label for example in examples] == [2, 2, 4, 4, 4]
    assert remarks[0] == (
        "no pictures of daisy, dandelion, sunflower here: accuracy, mean recall and macro F1 are of the other classes"
    )


def test_a_test_folder_with_other_folders_instead_of_classes_is_refused(root, tmp_path):
    """They may be the missing classes under another name."""
    data = prepared(root)
    put_classes(tmp_path / "test", {"rose": 2, "Tulipa": 3})
    with pytest.raises(UserError, match=r"no folder for daisy, dandelion, sunflower, tulip;.*found Tulipa, rose"):
        FlowersTask().test_examples(tmp_path / "test", data.classes, data.split, SETTINGS, None)
    with pytest.raises(UserError, match="no folder for daisy"):
        FlowersTask().test_examples(tmp_path, data.classes, data.split, SETTINGS, None)


def test_examples_for_evaluation_say_what_has_changed_since(root):
    task = FlowersTask()
    split = prepared(root).split
    examples, remarks = task.examples(root, tuple(COUNTS), split, SETTINGS)
    assert len(examples) == 30
    assert remarks == []
    assert task.examples(root, tuple(COUNTS), None, SETTINGS)[1] == []
    (root / "rose" / "00.jpg").unlink()
    put_scene(root / "rose" / "new.jpg", 600)
    put_scene(root / "tulip" / "00.jpg", 601)
    put_scene(root / "tulip" / "01.jpg", 602)
    examples, remarks = task.examples(root, tuple(COUNTS), split, SETTINGS)
    assert [example.id for example in examples if "new" in example.id] == ["rose/new.jpg"]
    text = "\n".join(remarks)
    assert "1 pictures are not there any more, for example 'rose/00.jpg'" in text
    assert "2 pictures are changed, for example 'tulip/00.jpg'" in text
    assert "1 pictures are new, and left out, for example 'rose/new.jpg'" in text


def test_the_picture_for_people_may_be_gone(root):
    task = task_for(settings_spec())
    example = prepared(root).train[0]
    assert task.render(example).mode == "RGB"
    (root / example.id).unlink()
    assert task.render(example) is None


def settings_spec():
    from flowerml.settings import find_model

    return find_model("convnextv2_atto")


def test_a_class_named_twice_is_refused_or_counted_once(root):
    try:
        data = prepared(root, classes="rose,rose,tulip")
    except UserError:
        return
    assert data.classes == ("rose", "tulip")


def test_names_that_are_not_utf8_are_refused_or_can_be_stored(root, tmp_path):
    """Either the scan lists them as bad, or split.json can hold them: not an error halfway through."""
    put_scene(Path(os.fsdecode(os.fsencode(root) + b"/rose/caf\xe9.jpg")), 700)
    task = FlowersTask()
    scanned = task.scan(root, None)
    if any("caf" in entry.file for entry in scanned.bad):
        return
    split = draw_split(scanned, list(range(len(scanned.pictures))), 0.2, 11)
    write_json(tmp_path / "split.json", split.as_json())
    assert (tmp_path / "split.json").stat().st_size > 0
