"""What is set for a process before torch and MLflow are imported; the user's own choices stay."""

import getpass
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowerml.data.scan_cache import cache_folder
from flowerml.process import environment as process_environment
from flowerml.process.environment import NO_TELEMETRY, set_process_environment, short_wait, temporary_home
from tests.conftest import ROOT

NOBODY = 4_000_000_000  # a user id without a passwd entry


@pytest.fixture
def homeless(monkeypatch, tmp_path):
    """A numeric user as `docker run --user` gives: no HOME, no name, no passwd entry."""
    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME", "XDG_CACHE_HOME", "FLOWERML_CACHE_DIR"):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "getuid", lambda: NOBODY)
    monkeypatch.setattr(process_environment.tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.slow
def test_commands_load_openmp_with_short_waiting():
    """Asked of the OpenMP that torch loads: it prints its settings."""
    words = [sys.executable, "-m", "flowerml.cli.main", "eval", "--checkpoint", "nothing.pth"]
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("OMP_WAIT", "GOMP", "KMP"))}
    environment |= {"OMP_DISPLAY_ENV": "VERBOSE", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr
    assert "GOMP_SPINCOUNT = '10000'" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("own", "shown"), [({}, "off True"), ({"MLFLOW_DISABLE_TELEMETRY": "false"}, "on True")])
def test_libraries_report_nothing_unless_the_user_lets_them(own, shown):
    """Asked of MLflow and huggingface_hub, in a process that looks like no test: both report nothing from those."""
    code = (
        "from flowerml.process.environment import set_process_environment as start; start(); "
        "import mlflow, huggingface_hub.constants as hub; from mlflow.telemetry import get_telemetry_client as client; "
        "from mlflow.telemetry.utils import is_telemetry_disabled as disabled; "
        "print('off' if disabled() and client() is None else 'on', hub.HF_HUB_DISABLE_TELEMETRY)"
    )
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment = {**kept, "PYTHONPATH": str(ROOT), "HTTPS_PROXY": "http://127.0.0.1:9", **own}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == shown


def test_commands_set_it_before_mlflow_is_imported():
    code = (
        "import os, sys; os.environ.pop('MLFLOW_DISABLE_TELEMETRY', None); from flowerml.cli import main; "
        "main.main(['nothing']); print(os.environ['MLFLOW_DISABLE_TELEMETRY'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "true"


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_what_the_user_has_decided_stays(name):
    assert short_wait({name: "x"}) == {}
    assert short_wait({}) == {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"}


def test_a_user_without_a_home_gets_one_and_a_name(homeless, capsys):
    set_process_environment()
    home = Path.home()
    assert home.parent == homeless
    assert home.stat().st_mode & 0o777 == 0o700
    assert getpass.getuser() == str(NOBODY)
    assert str(home) in capsys.readouterr().err
    assert cache_folder().is_relative_to(home)


def test_the_scan_cache_needs_no_home(homeless):
    assert cache_folder().is_relative_to(homeless)


def test_a_folder_of_somebody_else_is_not_used(homeless):
    """The user id in the test is not the one that makes folders, so the name that is free to take is another's."""
    assert temporary_home() != homeless / f"flowerml-{NOBODY}"


def test_the_folder_is_the_same_each_time(monkeypatch, tmp_path):
    monkeypatch.setattr(process_environment.tempfile, "tempdir", str(tmp_path))
    assert temporary_home() == temporary_home() == tmp_path / f"flowerml-{os.getuid()}"


def test_with_a_home_nothing_is_said(capsys):
    before = NO_TELEMETRY | dict(os.environ) | short_wait(os.environ)
    set_process_environment()
    assert dict(os.environ) == before
    assert capsys.readouterr().err == ""
