"""`dataset make`: draws pictures into an empty folder, refuses anything else in one line."""

import pytest
from PIL import Image

from tests.cli.dataset.dataset_helpers import FLOWERS, files_in, one_line
from tests.data.pictures import put


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


def test_help_names_both_actions(dataset, capsys):
    with pytest.raises(SystemExit) as caught:
        dataset("--help")
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("make", "check", "--per-class", "--json"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("make --json", "--json is of dataset check and next: leave it out with dataset make"),
        ("make --html page.html", "--html is of dataset check and next"),
        ("check --per-class 3", "--per-class is of dataset make: leave it out with dataset check"),
        ("check --photos x", "--photos is of dataset next"),
        ("fetch --seed 3", "--seed is of dataset make"),
        ("next --url http://x/y.tgz", "--url is of dataset fetch: leave it out with dataset next"),
        ("next --kind relations", "--kind is of dataset make and check"),
    ],
)
def test_a_flag_of_another_action_is_refused(dataset, tmp_path, words, said):
    """It was taken without a word, and did nothing."""
    code, out, err = dataset(*words.split(), "--train-dir", tmp_path / "new")
    assert (code, out) == (2, "")
    assert said in one_line(err)
    assert not (tmp_path / "new").exists()
