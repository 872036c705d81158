"""`flowerml combine`: table, JSON and mistakes in one line."""

import json

import pytest

from flowerml.cli.main import run_command
from flowerml.events import MemoryRecorder
from flowerml.runs.train import run_training
from flowerml.settings import resolve
from tests.runs.conftest import SMALL


@pytest.fixture(scope="module")
def runs(flowers, tmp_path_factory):
    folders = [tmp_path_factory.mktemp("run") / name for name in ("a", "b")]
    for epochs, folder in enumerate(folders, start=1):
        changes = {"epochs": epochs, "warmup_epochs": 0, "train_dir": str(flowers), "output_dir": str(folder)}
        run_training(resolve({**SMALL, **changes})[0], lambda *_: MemoryRecorder())
    return folders


def call(*words) -> int:
    return run_command("combine", [str(word) for word in words])


def test_prints_a_table_and_the_gain_and_eval_and_predict_take_the_result(runs, flowers, tmp_path, capsys):
    out = tmp_path / "soup"
    assert call(*runs, "--output-dir", out, "--workers", 0, "--device", "cpu") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["ingredient", "choosing", "half", "taken"]
    assert {line.split()[0] for line in lines[1:3]} == {str(run / "best.pth") for run in runs}
    assert lines[1].endswith("yes")
    taken = sum(one["taken"] for one in json.loads((out / "combine.json").read_text())["ingredients"])
    said = f"soup of {taken}: gain " if taken > 1 else "no average is better on the choosing half"
    assert lines[-1].startswith(said)
    assert run_command("eval", ["--checkpoint", str(out / "best.pth"), "--workers", "0", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["accuracy"] == json.loads((out / "combine.json").read_text())["validation"]["accuracy"]
    assert run_command("predict", ["--model", str(out / "best.pth"), str(flowers), "--workers", "0"]) == 0


def test_json_is_the_file(runs, tmp_path, capsys):
    out = tmp_path / "soup"
    assert call(*runs, "--output-dir", out, "--workers", 0, "--device", "auto", "--seed", 3, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads((out / "combine.json").read_text())
    assert shown["seed"] == 3


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("a --output-dir out", "a is all there is to combine: name two or more runs of one model"),
        ("a b --output-dir out --seed x", "--seed is 'x'. Allowed: whole number, 0 to 2147483648"),
        ("a b", "the following arguments are required: --output-dir. flowerml combine --help lists the flags"),
        (
            "a b --output-dir out",
            "checkpoint a: no such file. Give a run's best.pth or a delivered .pth",
        ),
        (
            "a b --output-dir full",
            "--output-dir full is not empty (it holds x): name a new or empty folder",
        ),
    ],
)
def test_mistakes_are_one_line(words, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    assert call(*words.split()) == 2
    assert capsys.readouterr() == ("", f"error: {line}\n")
    assert not (tmp_path / "out").exists()
