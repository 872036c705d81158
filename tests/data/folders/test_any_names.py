"""Whatever classes and files are called: found once each, split, and written to CSV, HTML and a terminal."""

import csv
import io
import json
import os
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from flowerml.data.folders import find_pictures, read_layout
from flowerml.data.folders.kinds import beside_pictures
from flowerml.data.quality.near_duplicates import group_numbers
from flowerml.data.quality.summary import folder_report, report_lines
from flowerml.data.scan import scan_folder
from flowerml.data.splits.split import Split, draw_split
from flowerml.files import write_text
from flowerml.prediction.files import FilePrediction
from flowerml.prediction.listing import prediction_lines, predictions_csv, predictions_json
from flowerml.reporting.data_page.page import data_page
from flowerml.text import nfc
from tests.data.pictures import encode

PICTURES = [
    encode(Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)), "PNG")
    for seed in range(8)
]
CHARACTERS = st.one_of(
    st.characters(exclude_characters="/\0", exclude_categories=("Cs",)),
    st.sampled_from([*"aé花🌻ª\\'\",;<&%*?[", "e\u0301", "\u030a", "\u200d", "\ufe0f", "\u202e", "\xa0"]),
    st.sampled_from([chr(code) for code in (*range(1, 32), 127, *range(0xDC80, 0xDD00))]),  # control; no UTF-8
)


def on_disk(name: str) -> str:
    """The name as the disk gives it back."""
    return os.fsdecode(os.fsencode(name))


NAMES = (
    st.lists(CHARACTERS, min_size=1, max_size=12)
    .map("".join)
    .map(on_disk)
    .filter(lambda name: beside_pictures(name) is None and "/" not in name)
)
FOLDERS = st.lists(NAMES.filter(lambda name: "." not in name), min_size=2, max_size=3, unique_by=nfc)
FILES = st.lists(NAMES.map(lambda name: f"{name}.png"), min_size=2, max_size=4, unique=True)


def put_all(root: Path, folders, files) -> set[str]:
    """Each file in each folder, every one another picture; their paths below `root`."""
    for place, folder in enumerate(folders):
        (root / folder).mkdir(parents=True)
        for number, file in enumerate(files):
            (root / folder / file).write_bytes(PICTURES[number] + bytes([place]))
    return {f"{folder}/{file}" for folder in folders for file in files}


def is_utf8(name: str) -> bool:
    return not any(0xD800 <= ord(char) < 0xE000 for char in name)


def is_clean(text: str) -> bool:
    """Whether a line of a terminal or page is one line of what UTF-8 can encode."""
    return all(char.isprintable() or char in "\t" for char in text)


@pytest.mark.slow
@settings(max_examples=80, derandomize=True, database=None, deadline=None)
@given(FOLDERS, FILES)
def test_every_picture_is_found_checked_split_and_listed(folders, files):
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "photos"
        expected = put_all(root, folders, files)
        layout = read_layout(root, ("folders",), {})
        assert layout.classes == tuple(sorted(map(nfc, folders)))
        assert {found.file for found in layout.files} == expected
        assert len({found.key for found in layout.files}) == len(expected)

        scanned = scan_folder(root, layout)
        assert {bad.file for bad in scanned.bad} == {file for file in expected if not is_utf8(file)}
        report = folder_report(scanned)
        assert all(map(is_clean, report_lines(report)))
        json.loads(json.dumps(report.as_json()))
        page = data_page(report, None, thumbnail=lambda _key: None)
        write_text(root.parent / "page.html", page)
        assert all(map(is_clean, (root.parent / "page.html").read_text("utf-8").split("\n")))

        if scanned.pictures and all(scanned.counts().values()):
            groups = list(range(len(scanned.pictures)))
            split = draw_split(scanned, groups, 0.3, 1) if min(scanned.counts().values()) > 1 else None
            if split is not None:
                assert Split.from_json(json.loads(json.dumps(split.as_json()))) == split
                assert {*split.train, *split.val} == {picture.key for picture in scanned.pictures}


@settings(max_examples=120, derandomize=True, database=None, deadline=None)
@given(FOLDERS, FILES)
def test_predictions_of_every_picture_are_written_and_read_back(folders, files):
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "photos"
        expected = put_all(root, folders, files)
        paths, passed_over = find_pictures([root])
        assert passed_over == []
        assert {str(path.relative_to(root)) for path in paths} == expected

        classes = tuple(sorted(map(nfc, folders)))
        shares = tuple(1.0 if number == 0 else 0.0 for number in range(len(classes)))
        answers = [FilePrediction(path, shares) for path in paths]
        write_text(root.parent / "out.csv", predictions_csv(classes, answers))
        with (root.parent / "out.csv").open(encoding="utf-8", newline="") as handle:
            rows = list(csv.reader(handle))
        escaped = [str(path).encode("utf-8", "backslashreplace").decode() for path in paths]
        assert [row[0] for row in rows[1:]] == escaped
        assert [entry["image"] for entry in json.loads(json.dumps(predictions_json(classes, answers)))["pictures"]] == [
            str(path) for path in paths
        ]
        lines = prediction_lines(classes, answers)
        assert len(lines) == len(expected)
        assert all(map(is_clean, lines))
        terminal = io.TextIOWrapper(io.BytesIO(), encoding="cp1252", errors="backslashreplace")
        print("\n".join(lines), file=terminal, flush=True)


@settings(max_examples=40, derandomize=True, database=None, deadline=None)
@given(FOLDERS, FILES)
def test_a_copy_in_the_other_unicode_form_has_the_same_split(folders, files):
    folders = [folder for folder in folders if is_utf8(folder)]
    files = [file for file in files if is_utf8(file)]
    if len(folders) < 2 or len({*map(nfc, files)}) < max(2, len(files)):
        return
    digests = set()
    with tempfile.TemporaryDirectory() as scratch:
        for form in ("NFC", "NFD"):
            root = Path(scratch) / form
            put_all(root, *([unicodedata.normalize(form, name) for name in names] for names in (folders, files)))
            scanned = scan_folder(root, read_layout(root, ("folders",), {}))
            digests.add(draw_split(scanned, range(len(scanned.pictures)), 0.3, 1).digest)
            assert len({*group_numbers(scanned.pictures, root)[0]}) > 1
    assert len(digests) == 1
