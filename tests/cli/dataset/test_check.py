"""`dataset check`: a report on a folder of pictures, exit code 1 for bad files and label conflicts."""

import json
import os
from pathlib import Path

import pytest

from tests.cli.dataset.dataset_helpers import FLOWERS, files_in, one_line
from tests.data.pictures import encode, put, put_scene, scene

pytestmark = pytest.mark.no_store


def test_check_passes_a_clean_folder(dataset, root):
    code, out, err = dataset("check", "--train-dir", root)
    assert code == 0
    assert err == ""
    assert f"{root}: 10 pictures" in out
    for name in FLOWERS:
        assert any(line.split() == [name, "2", "20.0%"] for line in out.splitlines())
    assert "files that can't be read: 0" in out


def test_check_of_a_made_set_finds_nothing_to_mend(dataset, flowers):
    code, out, _ = dataset("check", "--train-dir", flowers, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["counts"] == dict.fromkeys(FLOWERS, 12)
    assert report["bad"] == report["across_classes"] == report["identical"] == []


def test_check_lists_bad_files_and_exits_with_1(dataset, root):
    put(root / "rose" / "page.jpg", b"<!doctype html>")
    put(root / "tulip" / "empty.png", b"")
    code, out, err = dataset("check", "--train-dir", root)
    assert code == 1
    assert err == ""
    assert "files that can't be read: 2" in out
    assert any("'rose/page.jpg'" in line and "web page" in line for line in out.splitlines())
    assert any("'tulip/empty.png'" in line and "empty" in line for line in out.splitlines())


def test_check_exits_with_1_for_a_photo_under_two_classes_but_not_for_a_copy_in_one(dataset, root):
    put(root / "rose" / "copy.jpg", (root / "rose" / "00.jpg").read_bytes())
    assert dataset("check", "--train-dir", root)[0] == 0
    put(root / "tulip" / "also a rose.jpg", encode(scene(2000), "JPEG", quality=97))
    code, out, _ = dataset("check", "--train-dir", root)
    assert code == 1
    assert any("rose/00.jpg" in line and "tulip/also a rose.jpg" in line for line in out.splitlines())


def test_check_json_stands_alone_on_stdout(dataset, root):
    put(root / "rose" / "bad.jpg", b"no picture")
    put_scene(root / "orchid" / "1.jpg", 5)
    code, out, err = dataset("check", "--train-dir", root, "--json")
    report = json.loads(out)
    assert code == 1
    assert err == ""
    assert out.count("\n") == 1
    assert report["counts"] == dict.fromkeys(FLOWERS, 2)
    assert [entry["file"] for entry in report["bad"]] == ["rose/bad.jpg"]
    assert report["left_out"] == ["orchid"]
    assert len(report["digest"]) == 64
    assert report["widths"] == [48, 48, 48]


def test_check_takes_other_classes_by_name_or_all_folders(dataset, root):
    put_scene(root / "orchid" / "1.jpg", 5)
    out = dataset("check", "--train-dir", root, "--classes", "tulip, orchid", "--json")[1]
    assert json.loads(out)["counts"] == {"orchid": 1, "tulip": 2}
    out = dataset("check", "--train-dir", root, "--classes", "folders", "--json")[1]
    assert len(json.loads(out)["counts"]) == 6
    code, _, err = dataset("check", "--train-dir", root, "--classes", "tulip,lily")
    assert code == 2
    assert "no folder for lily" in one_line(err)


@pytest.mark.parametrize(
    "name", [b"line\nbreak.jpg", b"caf\xe9.jpg", "花 é.jpg".encode()], ids=["newline", "latin-1", "unicode"]
)
@pytest.mark.parametrize("as_json", [False, True])
def test_odd_names_can_be_shown(dataset, root, name, as_json):
    """A near-duplicate and a bad file of that name: the report must come out whatever the terminal's encoding makes of
    it.
    """
    for folder, data in ((b"rose", (root / "rose" / "00.jpg").read_bytes()), (b"tulip", b"no picture")):
        path = Path(os.fsdecode(os.path.join(os.fsencode(root), folder, name)))  # noqa: PTH118 - bytes
        put(path, data)
    code, out, _ = dataset("check", "--train-dir", root, *(["--json"] if as_json else []))
    assert code == 1
    if as_json:
        assert any(entry["file"].startswith("tulip/") for entry in json.loads(out)["bad"])
    else:
        assert any("'tulip/" in line for line in out.splitlines())


def test_check_html_writes_one_page_with_the_pictures_in_it(dataset, root, tmp_path, monkeypatch):
    """A photo under two labels, a near-duplicate and a bad file: all on a page that loads nothing. Without a name it is
    data-check.html.
    """
    put(root / "rose" / "copy.jpg", (root / "rose" / "00.jpg").read_bytes())
    put(root / "tulip" / "also a daisy.jpg", (root / "daisy" / "00.jpg").read_bytes())
    put(root / "tulip" / "bad.jpg", b"no picture")
    monkeypatch.chdir(tmp_path)
    code, out, err = dataset("check", "--train-dir", root, "--html")
    assert code == 1
    assert "data-check.html" in err
    assert dataset("check", "--train-dir", root, "--html", tmp_path / "sub" / "page.html")[:2] == (1, out)
    page = (tmp_path / "data-check.html").read_text("utf-8")
    assert page == (tmp_path / "sub" / "page.html").read_text("utf-8")
    for name in ("copy.jpg", "also a daisy.jpg", "tulip/bad.jpg"):
        assert name in page
    assert page.count("data:image/jpeg;base64,") == 4  # two groups of two
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "The labels were not questioned this time." in page


def test_check_html_in_a_wrong_place_is_said_before_the_pictures_are_read(dataset, root, tmp_path):
    put(tmp_path / "file", b"x")
    for page, what in (
        (tmp_path, "it is a folder"),
        (tmp_path / "file" / "page.html", f"can't write {tmp_path / 'file' / 'page.html'}"),
    ):
        code, out, err = dataset("check", "--train-dir", root, "--html", page)
        assert (code, out) == (2, "")
        assert what in one_line(err)
    assert files_in(tmp_path).keys() == {"file", *(f"data/{name}" for name in files_in(root))}


def test_check_device_without_a_checkpoint_is_refused(dataset, root):
    code, _, err = dataset("check", "--train-dir", root, "--device", "cpu")
    assert code == 2
    assert "--checkpoint PATH" in one_line(err)


@pytest.mark.parametrize("name", ["rose/00.jpg", "notes"])
def test_a_page_has_the_name_of_a_page(dataset, root, name):
    """A photo that was named became one."""
    put(root / "notes", b"mine")
    before = files_in(root)
    code, out, err = dataset("check", "--train-dir", root, "--html", root / name)
    assert (code, out) == (2, "")
    assert "Allowed: a file name that ends in .html" in one_line(err)
    assert files_in(root) == before
