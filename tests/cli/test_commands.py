"""The commands as a person types them: separate processes, real `mlflow run`, real exit codes."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from flowerml.settings import resolve
from flowerml.settings.serialization import as_text, conflicting_params

ROOT = Path(__file__).resolve().parents[2]
FAST = (
    "--weights none --img-size 32 --epochs 2 --warmup-epochs 1 --freeze-backbone-epochs 1 --batch-size 16 --workers 0"
)


def environment():
    # The project's Python first on PATH, as the README says: `mlflow run` starts the first `python` it finds.
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def call(*words, cwd=ROOT, timeout=280):
    return subprocess.run(words, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=timeout)


def train(flowers, tmp_path, extra="", model="timm:test_convnext2"):
    words = shlex.split(f"{FAST} {extra}")
    return call(
        "python",
        "entrypoints/train.py",
        "--model",
        model,
        "--train-dir",
        str(flowers),
        "--output-dir",
        str(tmp_path / "out"),
        *words,
    )


@pytest.mark.slow
def test_train_and_eval_from_the_project_root(flowers, tmp_path, capsys):
    """The evaluation in this process: its entry point is run by the smoke commands of the plan."""
    from flowerml.cli.main import main

    trained = train(flowers, tmp_path, "--json")
    assert trained.returncode == 0, trained.stderr
    result = json.loads(trained.stdout)
    assert re.search(r"^epoch 1/2 .*\nepoch 2/2 ", trained.stderr, re.MULTILINE), "one line per epoch in a log"
    assert main(["eval", "--checkpoint", result["checkpoint"], "--split", "val", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    for name in ("accuracy", "macro_f1", "loss", "confusion_matrix", "per_class"):
        assert again[name] == result["val"][name]
    run = MlflowClient().get_run(result["run_id"])
    assert run.info.status == "FINISHED"
    assert MlflowClient().get_run(again["run_id"]).data.tags["mlflow.parentRunId"] == result["run_id"]


@pytest.mark.slow
def test_mlflow_run_trains_and_shows_the_settings_that_ran(flowers, tmp_path):
    """No collision with the params `mlflow run` logs first ends a run, and what the UI shows parses to what ran."""
    spaced = tmp_path / "my photos é"
    shutil.copytree(flowers, spaced)
    given = {
        **{
            "model": "convnextv2_atto",
            "weights": "none",
            "train_dir": str(spaced),
            "img_size": "32",
            "epochs": "1",
            "warmup_epochs": "0",
        },
        **{
            "freeze_backbone_epochs": "1",
            "lr_head": "1e-4",
            "batch_size": "16",
            "workers": "0",
            "amp": "false",
            "val_split": "0.25",
        },
        **{"output_dir": str(tmp_path / "out dir"), "classes": "tulip, rose,daisy,dandelion,sunflower"},
    }
    words = [word for name, value in given.items() for word in ("-P", f"{name}={value}")]
    done = call("mlflow", "run", ".", "-e", "train", "--env-manager=local", *words)
    assert done.returncode == 0, done.stderr
    (run,) = MlflowClient().search_runs(["0"])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "out dir"
    ran, _ = resolve(json.loads((tmp_path / "out dir" / "settings.json").read_text())["settings"])
    assert (ran.lr_head, ran.amp, ran.val_split, ran.train_dir) == (1e-4, False, 0.25, str(spaced))
    assert conflicting_params(run.data.params, ran) == {}
    assert run.data.params["lr_backbone"] == as_text(ran.lr_backbone), "a setting nobody gave is there too"
    assert "auto" not in run.data.params.values()
    assert {entry.path for entry in MlflowClient().list_artifacts(run.info.run_id)} >= {
        "best.pth",
        "curves.png",
        "errors.html",
    }


@pytest.mark.slow
def test_mlflow_run_with_auto_leaves_a_launcher_and_a_run_that_counts(flowers, tmp_path):
    words = [
        "-P",
        "model=convnextv2_atto",
        "-P",
        f"train_dir={flowers}",
        "-P",
        "lr_head=auto",
        "-P",
        "weights=none",
        "-P",
        "img_size=32",
    ]
    words += ["-P", "epochs=1", "-P", "warmup_epochs=0", "-P", f"output_dir={tmp_path / 'out'}"]
    done = call("mlflow", "run", ".", "-e", "train", "--env-manager=local", *words)
    assert done.returncode == 0, done.stderr
    runs = {run.data.tags["flowerml.kind"]: run for run in MlflowClient().search_runs(["0"])}
    assert runs.keys() == {"launcher", "train"}
    assert runs["train"].data.params["lr_head"] == "0.001"
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


@pytest.mark.slow
def test_mlflow_run_of_something_wrong_says_why_on_its_run():
    done = call(
        "mlflow", "run", ".", "-e", "train", "--env-manager=local", "-P", "lr_head=fast", "-P", "model=convnextv2_atto"
    )
    assert done.returncode == 1
    assert "error: --lr-head is 'fast'. Allowed: number, > 0, <= 10, or auto" in done.stderr
    (run,) = MlflowClient().search_runs(["0"])
    assert run.info.status == "FAILED"
    assert run.data.tags["flowerml.reason"].startswith("--lr-head is 'fast'")


@pytest.mark.slow
def test_mlflow_run_dataset(flowers):
    done = call(
        "mlflow", "run", ".", "-e", "dataset", "--env-manager=local", "-P", "action=check", "-P", f"train_dir={flowers}"
    )
    assert done.returncode == 0, done.stderr
    assert "60 pictures" in done.stdout


@pytest.mark.slow
def test_sigterm_ends_a_run_as_killed(flowers, tmp_path):
    words = shlex.split(f"{FAST} --epochs 500 --patience 0")
    command = ["python", "entrypoints/train.py", "--model", "convnextv2_atto", "--train-dir", str(flowers)]
    process = subprocess.Popen(
        [*command, "--output-dir", str(tmp_path / "out"), *words],
        cwd=ROOT,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    seen = ""
    for line in process.stderr:
        seen += line
        if line.startswith("epoch   2/500"):
            process.send_signal(signal.SIGTERM)
            break
    seen += process.stderr.read()
    assert process.wait(timeout=60) == 130, seen
    assert "Traceback" not in seen
    client = MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("flowers").experiment_id])
    assert run.info.status == "KILLED"
    assert "SIGTERM" in run.data.tags["flowerml.reason"]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "KILLED"


WRONG = {
    "no such folder": ("--train-dir nowhere", r"the pictures' folder 'nowhere' does not exist"),
    "missing classes": (
        "--classes daisy,rose,orchid",
        r"no folder for orchid; expected daisy, orchid, rose; found daisy, dandelion, rose",
    ),
    "no weights file": (
        "--weights nothing.pth",
        r"--weights nothing.pth: no such file. Allowed: hub, none, or the path",
    ),
    "unknown device": ("--device cuda:7", r"--device cuda:7: this machine has cpu"),
    "unknown timm model": ("--model timm:no_such_net", r"timm has no 'no_such_net'"),
    "image size for a ViT": (
        "--model clip_vitl14 --img-size 200",
        r"--img-size 200 does not fit clip_vitl14: .* like 196 or 210",
    ),
    "hub out of reach": ("--weights hub", r"can't be fetched .*--weights PATH.*cache.*--weights none"),
    "mistyped flag": ("--lr-haed 1", r"flag '--lr-haed' is unknown. Did you mean --lr-head\?"),
    "out of range": ("--val-split 1.5", r"--val-split is '1.5'. Allowed: number, >= 0, < 1"),
    "nothing held out": ("--scheduler plateau --val-split 0", r"--scheduler plateau needs a validation loss"),
}


@pytest.mark.no_store
@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line_exit_2_and_no_run_left_open(case, flowers, tmp_path, capsys, monkeypatch):
    from flowerml.cli.main import main

    extra, message = WRONG[case]
    monkeypatch.chdir(tmp_path)
    base = ["train", "--model", "convnextv2_atto", "--train-dir", str(flowers), "--output-dir", "out"]
    assert main([*base, *shlex.split(FAST), *shlex.split(extra)]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(error) == 1
    assert re.search(message, error[0]), error[0]
    assert not (tmp_path / "out").exists(), "nothing half-written"
    assert not (tmp_path / "mlflow.db").exists(), "no run was opened"


@pytest.mark.parametrize("content", ["", "<html>", "not a checkpoint"])
def test_eval_of_a_file_that_is_no_checkpoint(content, tmp_path, capsys):
    from flowerml.cli.main import main

    path = tmp_path / "best.pth"
    path.write_text(content)
    assert main(["eval", "--checkpoint", str(path)]) == 2
    assert re.search(r"error: checkpoint .*best.pth: can't be read", capsys.readouterr().err)


def test_eval_without_a_checkpoint(tmp_path, capsys):
    from flowerml.cli.main import main

    assert main(["eval", "--checkpoint", str(tmp_path / "none.pth")]) == 2
    assert "no such file. Give a run's best.pth" in capsys.readouterr().err


def test_a_python_without_the_packages_is_told_what_to_do():
    """`mlflow run` starts the first python on PATH; where that is another one, the first line says so, and where the
    right one is.
    """
    done = subprocess.run(
        [sys.executable, "-S", "-E", "entrypoints/train.py"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    first = "P" if (ROOT / ".venv" / "bin" / "python").exists() else "Run `make setup`, then p"
    assert "has no pydantic, numpy, PIL" in done.stderr
    assert (
        f"this is not the project's Python. {first}ut the project's environment first on PATH: export PATH="
        in done.stderr
    )
    assert "--env-manager=uv" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_one_missing_package_is_named_without_importing_the_others(tmp_path):
    """A python that has some of them (a system with torch installed) is not the project's either."""
    hide = "import sys, runpy; from importlib import util; real = util.find_spec; "
    hide += "util.find_spec = lambda name, *rest: None if name == 'open_clip' else real(name, *rest); "
    hide += "sys.argv = ['train.py']; sys.path.insert(0, 'entrypoints'); runpy.run_path('entrypoints/train.py')"
    done = subprocess.run([sys.executable, "-c", hide], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"error: {sys.executable} has no open_clip: this is not the project's Python." in done.stderr
