"""`mlflow run` with the environments of the README, from a clone without `.venv`: what a new user has."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT
from tests.project.lock import PINS

SMALL = {
    "model": "convnextv2_atto",
    "weights": "none",
    "img_size": "32",
    "epochs": "1",
    "warmup_epochs": "0",
    "freeze_backbone_epochs": "0",
    "train_dir": "pictures",
    "output_dir": "runs/one",
}


@pytest.fixture
def clone(tmp_path, flowers):
    """The project's files as git knows them (also those not committed yet), without `.venv`, and a small folder of
    pictures.
    """
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in names.splitlines():
        if (ROOT / name).is_file():
            (tmp_path / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / "clone" / name)
    shutil.copytree(flowers, tmp_path / "clone" / "pictures")
    return tmp_path / "clone"


def mlflow_run(clone: Path, manager: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    words = [word for name, value in SMALL.items() for word in ("-P", f"{name}={value}")]
    command = [
        str(Path(sys.executable).parent / "mlflow"),
        "run",
        ".",
        "-e",
        "train",
        f"--env-manager={manager}",
        *words,
    ]
    return subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True, timeout=1500)


@pytest.fixture
def env(clone):
    """As in a shell with the project's environment first on PATH."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "VIRTUAL_ENV"))}
    return own | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{clone.parent / 'store.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "UV_SYSTEM_CERTS": "true",
    }


@pytest.mark.slow
def test_local_takes_the_python_in_front_on_path(clone, env):
    done = mlflow_run(clone, "local", env)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (clone / "runs" / "one" / "best.pth").is_file()


@pytest.mark.slow
def test_local_with_another_python_in_front_says_so(clone, env, tmp_path):
    """`.venv/bin/mlflow` without `.venv/bin` on PATH runs the system's python."""
    other = tmp_path / "bin"
    other.mkdir()
    (other / "python").write_text(f'#!/bin/sh\nexec {sys.executable} -S -E "$@"\n')
    (other / "python").chmod(0o755)
    done = mlflow_run(clone, "local", env | {"PATH": f"{other}{os.pathsep}{env['PATH']}"})
    assert done.returncode != 0
    assert (
        "this is not the project's Python. Run `make setup`, then put the project's environment first on PATH"
        in done.stderr
    )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("uv", path=str(Path(sys.executable).parent)) is None, reason="uv is not installed")
def test_uv_makes_the_environment_of_conda_yaml(clone, env, tmp_path):
    """The pins of conda.yaml are enough for a training, and the run's own list of versions shows that they were what
    ran.
    """
    done = mlflow_run(clone, "uv", env | {"MLFLOW_ENV_ROOT": str(tmp_path / "envs")})
    assert done.returncode == 0, done.stderr[-3000:]
    versions = (clone / "runs" / "one" / "environment.txt").read_text().splitlines()
    wanted = [Requirement(pin) for pin in PINS]
    pins = [
        f"{pin.name}{pin.specifier}" for pin in wanted if pin.marker is None or pin.marker.evaluate()
    ]  # the others are for another Python or system
    normal = {line.lower().replace("_", "-").replace(".", "-") for line in versions}
    assert {pin.lower().replace("_", "-").replace(".", "-") for pin in pins} <= normal
    assert not any(line.startswith("pytest==") for line in versions) or any(pin.startswith("pytest==") for pin in pins)
