"""`flowerml robustness`: table, JSON, the entry point, and mistakes in one line."""

import json
import shutil
from dataclasses import replace

import pytest
from mlflow.tracking import MlflowClient

from flowerml.cli.main import run_command
from flowerml.evaluation.corruptions import VIEWS
from flowerml.events import MemoryRecorder
from flowerml.files import file_digest
from flowerml.runs.lifecycle.run_file import read_run_file, write_run_file
from flowerml.runs.train import run_training
from flowerml.settings import resolve
from flowerml.training.checkpoints.checkpoint import load_checkpoint
from flowerml.training.checkpoints.weights_digest import weights_digest
from tests.cli.refused import assert_refused
from tests.cli.test_commands import call as call_process
from tests.runs.conftest import SMALL
from tests.sweep.commands import runs_of

QUICK = ("--workers", 0, "--limit", 1)


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


def test_it_is_a_child_of_the_training_run_unless_told_otherwise(run, tmp_path):
    client, folder = MlflowClient(), shutil.copytree(run, tmp_path / "run")
    parent = client.create_run(client.create_experiment("spring")).info
    write_run_file(folder, replace(read_run_file(folder), run_id=parent.run_id))
    assert call(folder, "--output-dir", tmp_path / "out", *QUICK) == 0
    (made,) = runs_of("robustness")
    tags, metrics = made.data.tags, made.data.metrics
    written = json.loads((tmp_path / "out" / "robustness.json").read_text())
    assert (made.info.status, made.info.experiment_id) == ("FINISHED", parent.experiment_id)
    assert tags["mlflow.parentRunId"] == tags["flowerml.evaluates"] == parent.run_id
    assert (tags["flowerml.evaluated_split"], tags["flowerml.family"]) == ("val", "cnn")
    assert tags["flowerml.weights_sha256"] == written["sha256"] == file_digest(run / "best.pth")
    digest = weights_digest(load_checkpoint(run / "best.pth").state_dict)
    assert tags["flowerml.weights_digest"] == written["weights_digest"] == digest
    assert metrics["accuracy_clean"] == written["clean"]["accuracy"]
    for row in written["corruptions"]:
        assert metrics[f"accuracy_{row['corruption']}_{row['strength']:g}"] == row["accuracy"]
    assert metrics["pictures"] == 5
    assert {one.path for one in client.list_artifacts(made.info.run_id)} == {
        *("robustness.json", "robustness.md", "robustness.png")
    }
    assert call(folder, "--output-dir", tmp_path / "other", *QUICK, "--no-record") == 0
    assert len(runs_of("robustness")) == 1


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("MLFLOW_TRACKING_URI", "http://127.0.0.1:9", "http://127.0.0.1:9 does not answer"),
        ("MLFLOW_EXPERIMENT_NAME", "x" * 300, "MLFLOW_EXPERIMENT_NAME is 'xxx"),
    ],
)
def test_a_store_that_is_away_is_a_warning(run, tmp_path, monkeypatch, capsys, variable, value, reason):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv(variable, value)
    assert call(run, "--output-dir", tmp_path / "out", *QUICK) == 0
    out, err = capsys.readouterr()
    assert out.startswith("corruption")
    assert reason in err.splitlines()[-1]
    assert err.endswith(f"the result is in {tmp_path / 'out'}, and not in MLflow\n")
    assert (tmp_path / "out" / "robustness.json").is_file()


@pytest.mark.slow
def test_entry_point(run, tmp_path):
    words = ["-P", f"weights={run}", "-P", f"output_dir={tmp_path / 'out'}", "-P", "workers=0", "-P", "limit=1"]
    done = call_process("mlflow", "run", ".", "-e", "robustness", "--env-manager=local", *words)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "robustness.json").is_file()
    (opened,) = runs_of("robustness")  # the run that `mlflow run` has opened
    assert opened.info.status == "FINISHED"
    assert opened.data.metrics["pictures"] == 5


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
