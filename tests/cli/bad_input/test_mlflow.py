"""Bad input in processes of their own: under `mlflow run`, and with trackers that make a client wait."""

import re
import shlex
import subprocess

import pytest
from mlflow.tracking import MlflowClient

from tests.cli.bad_input import rows as bad
from tests.cli.test_commands import ROOT, call, environment

pytestmark = pytest.mark.slow


def one_error(stderr):
    """The only line of ours among what MLflow says."""
    assert "Traceback" not in stderr
    (line,) = re.findall(r"^error: (.*)$", stderr, re.MULTILINE)
    return line


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            "train -P train_dir=nowhere -P weights=none",
            "the pictures' folder 'nowhere' does not exist: it must be a folder with …",
        ),
        ("train -P epochs=1_0", "--epochs is '1_0'. Allowed: whole number, >= 1, <= 10000 epochs, or auto"),
        pytest.param(
            "eval -P checkpoint=no/model.pth",
            "checkpoint no/model.pth: no such file. Give a run's best.pth or a delivered .pth",
            marks=pytest.mark.repeats,
        ),
        ("dataset -P action=chek", "argument action: invalid choice: 'chek' (choose from …). Did you mean check? …"),
    ],
    ids=["no folder", "1_0 epochs", "no checkpoint", "no such action"],
)
def test_mlflow_run_with_bad_input_fails_with_the_reason_on_its_run(words, line, tmp_path):
    """`mlflow run` has opened a run before our code starts: it must not stay RUNNING, and must say why."""
    done = call("mlflow", "run", str(ROOT), "--env-manager=local", "-e", *shlex.split(words), cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    said = one_error(done.stderr)
    assert re.fullmatch(re.escape(line).replace("…", ".*"), said), said
    (run,) = MlflowClient().search_runs(["0"])
    assert run.info.status == "FAILED"
    assert run.data.tags["flowerml.reason"] == said


def train(flowers, tmp_path, address, timeout_s):
    """A small training in a process of its own that is to write to the tracker at this address."""
    (tmp_path / "flowers").symlink_to(flowers)
    command = ["python", str(ROOT / "entrypoints" / "train.py"), *bad.command_of("train")[1]]
    return subprocess.run(
        command,
        cwd=tmp_path,
        env={**environment(), "MLFLOW_TRACKING_URI": address},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


def test_a_server_that_is_not_there_costs_a_training_nothing_but_a_line(flowers, tmp_path):
    """Its events are kept: `flowerml sync` delivers them (tests/cli/server/test_sync.py)."""
    done = train(flowers, tmp_path, "http://127.0.0.1:1", timeout_s=200)
    assert done.returncode == 0, done.stderr
    assert (
        "store http://127.0.0.1:1 does not answer (Connection refused): events are kept in out and go there later"
        in done.stderr
    )
    assert "flowerml sync out" in done.stderr
    assert done.stdout == ""
    assert (tmp_path / "out" / "best.pth").is_file()


def test_a_database_that_cannot_be_opened_is_tried_once(flowers, tmp_path):
    """A folder where the file should be: no time mends that (MLflow alone tries ten times, for 102 s)."""
    (tmp_path / "folder").mkdir()
    done = train(flowers, tmp_path, f"sqlite:///{tmp_path / 'folder'}", timeout_s=100)
    assert done.returncode == 2, done.stderr
    assert "folder is a folder: name a file in it" in one_error(done.stderr)
    assert "will be retried" not in done.stderr
