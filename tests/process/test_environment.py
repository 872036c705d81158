"""What is set for a process before torch and MLflow are imported; the user's own choices stay."""

import getpass
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowerml.data.scan_cache import cache_folder
from flowerml.process import environment as process_environment
from flowerml.process.environment import set_process_environment, short_wait, temporary_home
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
    before = dict(os.environ) | short_wait(os.environ)
    set_process_environment()
    assert dict(os.environ) == before
    assert capsys.readouterr().err == ""
