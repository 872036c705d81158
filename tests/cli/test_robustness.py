"""`flowerml robustness`: table, JSON, the entry point, and mistakes in one line."""

import json

import pytest

from flowerml.cli.main import run_command
from flowerml.evaluation.corruptions import VIEWS
from flowerml.events import MemoryRecorder
from flowerml.runs.train import run_training
from flowerml.settings import resolve
from tests.cli.refused import assert_refused
from tests.cli.test_commands import call as call_process
from tests.runs.conftest import SMALL


@pytest.fixture(scope="module")
def run(flowers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "out"
    changes = {"epochs": 1, "warmup_epochs": 0, "train_dir": str(flowers), "output_dir": str(folder)}
    run_training(resolve({**SMALL, **changes})[0], lambda *_: MemoryRecorder())
    return folder


def call(*words) -> int:
    return run_command("robustness", [str(word) for word in words])


def test_prints_the_table_and_a_sentence(run, tmp_path, capsys):
    assert call(run, "--output-dir", tmp_path / "out", "--workers", 0, "--device", "cpu") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["corruption", "strength", "n", "accuracy"]
    assert [line.split()[0] for line in lines[1 : 2 + len(VIEWS)]] == ["clean", *(one.name for one, _ in VIEWS)]
    written = json.loads((tmp_path / "out" / "robustness.json").read_text())
    assert lines[3 + len(VIEWS) :] == written["remarks"]
    assert f"{written['clean']['accuracy']:.4f}" in lines[1]


def test_json_is_the_file_and_the_photos_can_be_named(run, flowers, tmp_path, capsys):
    words = ("--workers", 0, "--device", "auto", "--limit", 1, "--json")
    assert call(run / "best.pth", "--output-dir", tmp_path / "a", "--train-dir", flowers, *words) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads((tmp_path / "a" / "robustness.json").read_text())
    assert (shown["split"], shown["pictures"]) == ("val", 5)


@pytest.mark.slow
def test_entry_point(run, tmp_path):
    words = ["-P", f"weights={run}", "-P", f"output_dir={tmp_path / 'out'}", "-P", "workers=0", "-P", "limit=1"]
    done = call_process("mlflow", "run", ".", "-e", "robustness", "--env-manager=local", *words)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "robustness.json").is_file()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("a", "the following arguments are required: --output-dir. flowerml robustness --help lists the flags"),
        ("a --output-dir out", "checkpoint a: no such file. Give a run's best.pth or a delivered .pth"),
        ("a --output-dir full", "--output-dir full is not empty (it holds x): name a new or empty folder"),
        ("a --output-dir out --limit 0", "--limit is '0'. Allowed: whole number, 1 to 1000000"),
        (
            "a --output-dir out --train-dir b --test-dir c",
            "--test-dir and --train-dir exclude each other: the first names pictures outside the split, the second"
            " those of it",
        ),
        ("full/x --output-dir out", "checkpoint full/x: can't be read (File is not a zip file)"),
    ],
)
def test_mistakes_are_one_line(words, line, tmp_path, monkeypatch, capsys):
    assert_refused(call, words, line, tmp_path, monkeypatch, capsys)
