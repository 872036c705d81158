"""`flowerml dataset make|check`, called as a command: exit codes, one line per mistake, only results on stdout."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from flowerml.cli.main import main
from tests.data.pictures import encode, put, put_classes, put_scene, scene

FLOWERS = ["daisy", "dandelion", "rose", "sunflower", "tulip"]


def files_in(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture
def dataset(capsys):
    """A function that runs `flowerml dataset ...` and returns (exit code, stdout, stderr)."""

    def run(*words):
        code = main(["dataset", *map(str, words)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def root(tmp_path):
    return put_classes(tmp_path / "data", dict.fromkeys(FLOWERS, 2))


def one_line(stderr):
    assert stderr.startswith("error: ")
    assert stderr.endswith("\n")
    assert stderr.count("\n") == 1
    return stderr


def test_make_draws_the_asked_number_of_each_flower(dataset, tmp_path):
    code, out, err = dataset("make", "--train-dir", tmp_path / "new" / "set", "--per-class", 3, "--size", 40)
    assert code == 0
    assert out == ""
    assert "15 pictures, 3 of each" in err
    files = files_in(tmp_path / "new" / "set")
    assert {name.split("/")[0] for name in files} == set(FLOWERS)
    assert len(files) == 15
    for name in files:
        with Image.open(tmp_path / "new" / "set" / name) as picture:
            assert 0.8 * 40 <= min(picture.size) <= max(picture.size) <= 1.3 * 40


def test_make_is_repeatable_by_seed_and_seed_zero_counts(dataset, tmp_path):
    made = {}
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert (
            dataset("make", f"--train-dir={tmp_path / folder}", "--per-class", 1, "--size", 32, "--seed", seed)[0] == 0
        )
        made[folder] = files_in(tmp_path / folder)
    assert made["a"] == made["b"]
    assert made["a"].keys() == made["c"].keys()
    assert all(made["a"][name] != made["c"][name] for name in made["a"])


def test_make_never_mixes_with_other_files(dataset, tmp_path):
    put(tmp_path / "mine" / "rose" / "photo.jpg", b"a photo")
    put(tmp_path / "file", b"x")
    for folder in ("mine", "file"):
        before = files_in(tmp_path)
        code, out, err = dataset("make", "--train-dir", tmp_path / folder, "--per-class", 1)
        assert code == 2
        assert out == ""
        assert "is not empty" in one_line(err)
        assert files_in(tmp_path) == before


def test_make_takes_an_empty_folder(dataset, tmp_path):
    (tmp_path / "empty").mkdir()
    assert dataset("make", "--train-dir", tmp_path / "empty", "--per-class", 1, "--size", 32)[0] == 0
    assert len(files_in(tmp_path / "empty")) == 5


@pytest.mark.parametrize(
    ("flag", "value", "limits"),
    [
        ("--per-class", "0", "1 to 100000"),
        ("--per-class", "-3", "1 to 100000"),
        ("--per-class", "three", "1 to 100000"),
        ("--per-class", "", "1 to 100000"),
        ("--size", "31", "32 to 2048"),
        ("--size", "2049", "32 to 2048"),
        ("--size", "64.5", "32 to 2048"),
        ("--size", "9" * 5000, "32 to 2048"),
        ("--size", "²", "32 to 2048"),
        ("--seed", "-1", "0 to 2147483648"),
        ("--seed", "1e3", "0 to 2147483648"),
    ],
    ids=lambda value: value[:12],
)
def test_wrong_numbers_are_one_line_and_nothing_is_made(dataset, tmp_path, flag, value, limits):
    code, out, err = dataset("make", "--train-dir", tmp_path / "new", f"{flag}={value}")
    assert code == 2
    assert out == ""
    message = one_line(err)
    assert f"{flag} is {value!r}" in message
    assert f"whole number, {limits}" in message
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["make", "--per-clas", "3"], "Did you mean --per-class?"),
        (["make", "--per_clas", "3"], "Did you mean --per-class?"),
        (["chek"], "'make', 'check'"),
        ([], "action"),
        (["make", "--train-dir"], "--train-dir"),
        (["check", "stray"], "'stray'"),
        (["check", "--train-dir", "nowhere"], "nowhere"),
    ],
    ids=str,
)
def test_other_mistakes_are_one_line_too(dataset, tmp_path, monkeypatch, words, hint):
    monkeypatch.chdir(tmp_path)
    code, out, err = dataset(*words)
    assert code == 2
    assert out == ""
    assert hint in one_line(err)
    assert not (tmp_path / "data").exists()


def test_a_place_that_cannot_be_written_is_named_with_this_commands_own_flag(dataset, tmp_path):
    put(tmp_path / "file", b"x")
    code, _, err = dataset("make", "--train-dir", tmp_path / "file" / "set", "--per-class", 1, "--size", 32)
    assert code == 2
    assert str(tmp_path / "file") in one_line(err)
    assert "--output-dir" not in err


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


def test_help_names_both_actions(dataset, capsys):
    with pytest.raises(SystemExit) as caught:
        dataset("--help")
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("make", "check", "--per-class", "--json"))


class TestPairs:
    """`--kind relations`: two boxed things in a picture, annotations beside the pictures."""

    @pytest.fixture
    def made(self, dataset, tmp_path):
        code, out, err = dataset(
            "make", "--kind", "relations", "--per-class", 2, "--size", 64, "--train-dir", tmp_path / "scenes"
        )
        assert (code, out) == (0, "")
        assert "20 pairs in " in err
        return tmp_path / "scenes"

    def test_make_draws_pictures_and_annotations(self, made):
        names = set(files_in(made))
        assert {"annotations_train.json", "predicates.json", "objects.json", "train_image_metadata.json"} < names
        assert sum(name.endswith(".jpg") for name in names) >= 7

    def test_a_long_tail_where_asked(self, dataset, tmp_path):
        code, _, err = dataset(
            "make",
            "--kind",
            "relations",
            "--per-class",
            10,
            "--size",
            64,
            "--long-tail",
            "--train-dir",
            tmp_path / "tail",
        )
        assert code == 0
        assert "on 42," in err
        assert "outside 5" in err

    def test_check_counts_pairs_and_says_what_one_answer_can_reach(self, dataset, made):
        code, out, _ = dataset("check", "--kind", "relations", "--train-dir", made)
        assert code == 0
        assert "20 usable pairs" in out
        assert "at most 100.0 % accuracy" in out
        code, out, _ = dataset("check", "--kind", "relations", "--train-dir", made, "--json")
        found = json.loads(out)
        assert (code, found["pairs"], found["counts"]["inside"], found["bad"]) == (0, 20, 2, [])

    def test_check_lists_what_can_not_be_used(self, dataset, made):
        gone = sorted(made.glob("*.jpg"))[0]
        gone.unlink()
        code, out, _ = dataset("check", "--kind", "relations", "--train-dir", made)
        assert code == 1
        assert f"  {gone.name}: " in out

    @pytest.mark.parametrize(
        ("words", "reason"),
        [
            (["check", "--kind", "relations"], "no annotations: name one with --annotations PATH"),
            (["check", "--annotations", "x.json"], "--annotations and --wording are for --kind relations"),
            (["check", "--kind", "relations", "--html"], "--html looks at whole pictures"),
            (["make", "--long-tail"], "--long-tail is for --kind relations"),
            (["make", "--kind", "relations", "--size", 40], "--size is 40. Allowed with --kind relations: 64 to 2048"),
            (["make", "--kind", "relations", "--per-class", 1], "--per-class is 1. Allowed with --kind relations"),
            (["make", "--kind", "roses"], "invalid choice: 'roses'"),
        ],
    )
    def test_what_does_not_go_together_is_one_line(self, dataset, tmp_path, words, reason):
        (tmp_path / "empty").mkdir()
        code, out, err = dataset(*words, "--train-dir", tmp_path / "empty")
        assert (code, out) == (2, "")
        assert reason in one_line(err)
