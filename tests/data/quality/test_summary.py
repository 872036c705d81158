"""`dataset check`: what the scan found, for a person and as JSON."""

import json

from flowerml.data.folders import read_layout
from flowerml.data.quality.summary import folder_report, report_lines
from flowerml.data.scan import scan_folder
from tests.data.pictures import encode, put, put_classes, put_scene, scene


def report_of(root, classes=("folders",)):
    return folder_report(scan_folder(root, read_layout(root, classes, {})))


def doubtful(root):
    """Two classes with a near copy, an exact copy, one photo under both classes, a bad file and a folder left out."""
    put_classes(root, {"a": 4, "b": 3})
    put(root / "a" / "near.jpg", encode(scene(0), "JPEG", quality=97))
    put(root / "b" / "same.jpg", (root / "b" / "01.jpg").read_bytes())
    put(root / "b" / "other label.jpg", encode(scene(2), "JPEG", quality=97))
    put(root / "b" / "bad.jpg", b"nothing")
    put_scene(root / "c" / "left out.jpg", 3)
    return root


def test_the_report_names_everything_doubtful(tmp_path):
    report = report_of(doubtful(tmp_path), ("a", "b"))
    assert report.counts == {"a": 5, "b": 5}
    assert report.left_out == ("c",)
    assert [entry.file for entry in report.bad] == ["b/bad.jpg"]
    assert report.near_duplicates == (("a/00.jpg", "a/near.jpg"), ("b/01.jpg", "b/same.jpg"))
    assert report.across_classes == (("a/02.jpg", "b/other label.jpg"),)
    assert report.identical == (("b/01.jpg", "b/same.jpg"),)
    assert report.groups_from.startswith("perceptual hash")
    assert report.digest == scan_folder(tmp_path, read_layout(tmp_path, ("a", "b"), {})).digest


def test_the_manifests_groups_are_reported_as_such(tmp_path):
    put_classes(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "manifest.csv").write_text("class,file,near_dup_group\na,00.jpg,1\nb,01.jpg,1\n")
    report = report_of(tmp_path)
    assert report.groups_from == "manifest.csv"
    assert report.across_classes == (("a/00.jpg", "b/01.jpg"),)
    assert report.near_duplicates == report.identical == ()


def test_sizes_are_smallest_median_largest(tmp_path):
    for number, (width, height) in enumerate([(30, 90), (40, 20), (110, 25), (50, 30)]):
        put_scene(tmp_path / "ab"[number % 2] / f"{number}.jpg", number, width=width, height=height)
    report = report_of(tmp_path)
    assert report.widths == (30, 45, 110)
    assert report.heights == (20, 27.5, 90)


def test_the_lines_say_what_the_report_holds(tmp_path):
    text = "\n".join(report_lines(report_of(doubtful(tmp_path), ("a", "b"))))
    lines = text.split("\n")

    def after(title):
        return lines[next(number for number, line in enumerate(lines) if line.startswith(title)) + 1]

    assert f"{tmp_path}: 10 pictures" in text
    assert "50.0%" in text
    assert "folders left out: c" in text
    assert "files that can't be read: 1\n  'b/bad.jpg'\tnot a picture" in text
    assert (
        "near-duplicates in a class (perceptual hash, distance <= 4 of 64): 2 groups\n  a/00.jpg  a/near.jpg\n "
        " b/01.jpg  b/same.jpg" in text
    )
    assert "the same photo under two classes: 1 groups\n  a/02.jpg  b/other label.jpg" in text
    assert "files of equal content: 1 groups" in text


def test_a_long_list_of_groups_is_cut_for_a_person_but_not_in_the_json(tmp_path):
    for number in range(23):
        data = encode(scene(number), "JPEG")
        put(tmp_path / "a" / f"{number:02d}.jpg", data)
        put(tmp_path / "a" / f"{number:02d}_copy.jpg", data)
    put_scene(tmp_path / "b" / "1.jpg", 500)
    report = report_of(tmp_path)
    assert len(report.as_json()["identical"]) == 23
    lines = report_lines(report)
    assert sum("_copy.jpg" in line for line in lines) == 2 * 20
    assert lines.count("  and 3 more: --json lists all") == 2


def test_the_json_round_trips(tmp_path):
    report = report_of(doubtful(tmp_path), ("a", "b"))
    read = json.loads(json.dumps(report.as_json()))
    assert read["counts"] == {"a": 5, "b": 5}
    assert read["bad"] == [{"file": "b/bad.jpg", "reason": report.bad[0].reason}]
    assert read["across_classes"] == [["a/02.jpg", "b/other label.jpg"]]


def test_a_folder_of_nothing_but_bad_files_is_reported_too(tmp_path):
    for name in ("a/1.jpg", "b/1.jpg"):
        put(tmp_path / name, b"nothing")
    report = report_of(tmp_path)
    assert report.counts == {"a": 0, "b": 0}
    assert len(report.bad) == 2
    assert any("0 pictures" in line for line in report_lines(report))


def test_odd_names_stay_on_their_line(tmp_path):
    put_classes(tmp_path, {"a": 1, "b": 1})
    data = encode(scene(77), "JPEG")
    put(tmp_path / "a" / "one\nname.jpg", data)
    put(tmp_path / "a" / "other.jpg", data)
    line = next(line for line in "\n".join(report_lines(report_of(tmp_path))).split("\n") if "other.jpg" in line)
    assert "one" in line
