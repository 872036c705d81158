"""Stored splits: JSON, digests, tampering; and splits of files on disk."""

import dataclasses
import json
import shutil
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from flowerml.data.folders import read_layout
from flowerml.data.quality.near_duplicates import group_numbers
from flowerml.data.scan import scan_folder
from flowerml.data.splits.split import Split, draw_split
from flowerml.errors import UserError
from flowerml.settings import resolve
from flowerml.tasks.flowers import ALIASES, FlowersTask
from tests.data.pictures import encode, put, put_classes, scene
from tests.data.splits.scans import of_groups, singles


def nf(form, text):
    return unicodedata.normalize(form, text)


def test_the_split_carries_what_it_was_drawn_from():
    scanned, numbers = singles(a=5, b=5)
    split = draw_split(scanned, numbers, 0.2, 7)
    assert (split.classes, split.val_split, split.split_seed, split.data_digest) == (("a", "b"), 0.2, 7, scanned.digest)
    assert split.sha256 == {picture.key: picture.sha256 for picture in scanned.pictures}


def test_the_digest_sees_sides_names_and_contents():
    split = draw_split(*singles(a=5, b=5), 0.2, 7)
    moved = dataclasses.replace(split, train=split.train[1:], val=(*split.val, split.train[0]))
    other = dataclasses.replace(split, sha256={**split.sha256, split.train[0]: "0" * 64})
    assert len({split.digest, moved.digest, other.digest}) == 3
    assert dataclasses.replace(split, train=split.train[::-1]).digest == split.digest, "the order is no part of it"


def test_json_round_trip():
    split = draw_split(*of_groups(["a/é 1.jpg"], ["a/two\nlines.jpg"], ["b/花.jpg"], ["b/2.jpg"]), 0.5, 0)
    stored = json.loads(json.dumps(split.as_json()))
    assert Split.from_json(stored) == split
    assert stored["digest"] == split.digest
    assert stored["format"] == "flowerml-split-1"


def _move(stored):
    stored["train"].append(stored["val"].pop())


def _drop(stored):
    stored["train"].pop()


def _twice(stored):
    stored["val"].append(stored["train"][0])


def _content(stored):
    stored["sha256"][stored["train"][0]] = "0" * 64


def _digest(stored):
    stored["digest"] = "0" * 64


def _rename(stored):
    stored["train"][0] = "a/other.jpg"


def _no_content(stored):
    del stored["sha256"][stored["val"][0]]


def _no_list(stored):
    del stored["train"]


def _no_digest(stored):
    del stored["digest"]


def _format(stored):
    stored["format"] = "flowerml-split-9"


@pytest.mark.parametrize(
    "tamper", [_move, _drop, _twice, _content, _digest, _rename, _no_content, _no_list, _no_digest, _format]
)
def test_a_stored_split_that_was_tampered_with_is_refused(tamper):
    stored = json.loads(json.dumps(draw_split(*singles(a=5, b=5), 0.4, 7).as_json()))
    tamper(stored)
    with pytest.raises(UserError) as caught:
        Split.from_json(stored)
    assert "\n" not in str(caught.value)


def split_of(root):
    task = FlowersTask()
    scanned = task.scan(root, None)
    return draw_split(scanned, group_numbers(scanned.pictures, root)[0], 0.25, 11)


def test_real_files_elsewhere_under_plural_names_split_the_same(tmp_path, monkeypatch):
    counts = {"daisy": 8, "dandelion": 4, "rose": 9, "sunflower": 4, "tulip": 5}
    root = put_classes(tmp_path / "one", counts)
    put(root / "rose" / "copy.jpg", encode(scene(2001), "JPEG", quality=97))
    expected = split_of(root)
    plural = tmp_path / "two" / "deeper"
    shutil.copytree(root, plural)
    for name in ("rose", "sunflower", "tulip"):
        (plural / name).rename(plural / f"{name}s")
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: iter(sorted(listed(path), reverse=True)))
    assert split_of(plural) == expected
    assert expected.digest == split_of(plural).digest
    assert Counter(key.split("/")[0] for key in expected.val) == {
        "daisy": 2,
        "dandelion": 1,
        "rose": 2,
        "sunflower": 1,
        "tulip": 1,
    }


@pytest.mark.parametrize("split_seed", range(6))
def test_copies_of_a_photo_on_disk_stay_on_one_side(tmp_path, split_seed):
    root = put_classes(tmp_path, {"a": 6, "b": 6})
    copies = []
    for number in range(6):
        path = put(root / "a" / f"copy{number}.jpg", encode(scene(number).resize((70, 60)), "JPEG", quality=60))
        copies.append((f"a/{number:02d}.jpg", f"a/{path.name}"))
    scanned = scan_folder(root, read_layout(root, ("a", "b"), ALIASES))
    split = draw_split(scanned, group_numbers(scanned.pictures, root)[0], 0.4, split_seed)
    assert all((original in split.val) == (copy in split.val) for original, copy in copies)
    assert any(original in split.val for original, _ in copies)


@pytest.mark.slow
def test_the_real_photos_keep_their_groups_and_shares(real_photos):
    scanned = FlowersTask().scan(real_photos, None)
    numbers, source = group_numbers(scanned.pictures, real_photos)
    assert source == "manifest.csv"
    assert not scanned.bad
    split = draw_split(scanned, numbers, 0.2, 11)
    val = set(split.val)
    sides = defaultdict(set)
    labels = defaultdict(set)
    rows = [line.split(",") for line in (real_photos / "manifest.csv").read_text(encoding="utf-8").splitlines()[1:]]
    for row in rows:
        if row[-1]:
            sides[row[-1]].add(f"{row[0]}/{row[1]}" in val)
            labels[row[-1]].add(row[0])
    assert len(sides) > 10
    assert all(len(side) == 1 for side in sides.values())
    assert all(sides[group] == {False} for group, names in labels.items() if len(names) > 1)
    counts = scanned.counts()
    assert counts == Counter(row[0] for row in rows)
    held = Counter(key.split("/")[0] for key in split.val)
    assert held == {name: round(0.2 * count) for name, count in counts.items()}
    contents = defaultdict(set)
    for picture in scanned.pictures:
        contents[picture.sha256].add(picture.key in val)
    assert all(len(side) == 1 for side in contents.values())


class TestUnicodeForms:
    """macOS hands names out in NFD, Linux and archives mostly in NFC: one name all the same."""

    @staticmethod
    def folder(root: Path, form: str) -> Path:
        for number in range(6):
            put(root / nf(form, "café") / nf(form, f"rosé {number}.jpg"), encode(scene(number), "JPEG"))
            put(root / "b" / f"{number}.jpg", encode(scene(100 + number), "JPEG"))
        return root

    def test_split_and_digest_do_not_depend_on_the_form_on_disk(self, tmp_path):
        splits = []
        for form in ("NFC", "NFD"):
            root = self.folder(tmp_path / form, form)
            scanned = scan_folder(root, read_layout(root, (nf(form, "café"), "b"), {}))
            splits.append(draw_split(scanned, group_numbers(scanned.pictures, root)[0], 0.3, 1))
        assert splits[0] == splits[1]
        assert splits[0].classes == ("b", nf("NFC", "café"))

    def test_a_moved_folder_is_the_one_that_was_trained_on(self, tmp_path):
        settings = resolve(
            {"model": "convnextv2_atto", "weights": "none", "classes": "folders", "train_dir": str(tmp_path / "NFC")}
        )[0]
        data = FlowersTask().prepare(settings.replace(train_dir=str(self.folder(tmp_path / "NFC", "NFC"))))
        moved = self.folder(tmp_path / "NFD", "NFD")
        examples, remarks = FlowersTask().examples(moved, data.classes, data.split, settings)
        assert remarks == []
        assert {example.id for example in examples} == {*data.split.train, *data.split.val}
        assert all(example.read() for example in examples)

    def test_a_split_stored_with_the_form_on_disk_is_read_in_nfc(self):
        keys = [nf("NFD", f"café/rosé {number}.jpg") for number in range(4)] + [
            f"b/{number}.jpg" for number in range(4)
        ]
        old = draw_split(*of_groups(*([key] for key in keys)), 0.3, 1)
        stored = json.loads(json.dumps(old.as_json()))
        split = Split.from_json(stored)
        assert {*split.sha256} == {*split.train, *split.val} == {nf("NFC", key) for key in keys}
        assert [split.sha256[nf("NFC", key)] for key in keys] == [old.sha256[key] for key in keys]

    def test_two_files_of_one_name_in_two_forms_both_have_a_key(self, tmp_path):
        names = [nf(form, "rosé.jpg") for form in ("NFC", "NFD")]
        for name in names:
            put(tmp_path / "a" / name, encode(scene(1), "JPEG"))
        put(tmp_path / "b" / "1.jpg", encode(scene(2), "JPEG"))
        layout = read_layout(tmp_path, ("a", "b"), {})
        assert {picture.key for picture in layout.files} == {*(f"a/{name}" for name in names), "b/1.jpg"}
