"""Every command the README shows is run by a test or by CI; a new one must find its place here first."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import time
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from flowerml.cli.main import main
from tests.cli.test_commands import ROOT, environment

RUN_BY = {
    "make demo": ".ci/run",
    "make test": ".ci/run",
    "make ui": "test_make_ui_serves_the_store",
    "export PATH": "tests/cli/test_commands.py: environment()",
    "mlflow run . -e train": "tests/cli/test_commands.py",
    "mlflow run . -e campaign": "make demo",
    "flowerml campaign": "tests/campaign/test_telling.py, test_killed.py",
    "mlflow run . -e select": "tests/delivery/test_whole_way.py",
    "mlflow run . -e export": "tests/delivery/test_whole_way.py",
    "flowerml select": "tests/delivery/test_whole_way.py",
    "flowerml export": "tests/delivery/test_export.py, test_whole_way.py",
    "flowerml predict": "tests/cli/test_predict.py, tests/delivery/test_whole_way.py",
    "mlflow models serve": "tests/tracking/test_serving.py",
    "flowerml dataset fetch": "tests/cli/dataset/test_fetch.py, against a server on loopback",
    "docker compose": (
        "tests/test_compose.py reads it with the real Compose, tests/tracking/test_server.py runs the server's command"
    ),
    "flowerml train": "test_installed_commands",
    "python entrypoints/train.py": "tests/cli/test_commands.py",
    "flowerml eval": "test_installed_commands",
    "flowerml dataset check": "test_installed_commands",
    "flowerml dataset make": "test_installed_commands",
    "flowerml sync": "tests/faults/test_servers.py, tests/cli/test_sync.py",
    "flowerml reap": "tests/faults/test_states.py, tests/cli/test_reap.py",
    "make faults": ".ci/run: its fast part in make test, the rest in make slow",
    "flowerml compare": "tests/campaign/test_pair_campaigns.py",
    "mlflow run . -e sweep": "tests/sweep/test_project.py",
    "flowerml sweep": "tests/sweep/test_sweep.py",
}


def test_every_command_of_the_readme_is_run_somewhere():
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    commands = [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]
    assert commands
    unknown = [line for line in commands if not line.startswith(tuple(RUN_BY))]
    assert unknown == []
    unused = [start for start in RUN_BY if not any(line.startswith(start) for line in commands)]
    assert unused == []


def test_installed_commands(tmp_path, monkeypatch, capsys):
    """`flowerml dataset make`, `dataset check`, `train`, `eval` one after the other, as the README has them."""
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split("dataset make --train-dir data/drawn --per-class 6 --size 48")) == 0
    assert main(shlex.split("dataset check --train-dir data/drawn")) == 0
    flags = "--weights none --img-size 32 --epochs 1 --warmup-epochs 0 --workers 0 --json"
    capsys.readouterr()
    assert main(shlex.split(f"train --model convnextv2_atto --train-dir data/drawn {flags}")) == 0
    trained = json.loads(capsys.readouterr().out)
    assert main(shlex.split(f"eval --checkpoint {trained['checkpoint']} --split val --json")) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == trained["val"]["accuracy"]
    assert main(shlex.split(f"eval --checkpoint {trained['checkpoint']} --test-dir data/drawn")) == 0
    assert "(rows: true, columns: predicted)" in capsys.readouterr().out


@pytest.mark.slow
def test_make_ui_serves_the_store(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["make", "ui", f"STORE=sqlite:///{tmp_path / 'ui.db'}", f"PORT={port}"]
    server = subprocess.Popen(command, cwd=ROOT, env=environment(), start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                with urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                    assert answer.status == 200
                break
            except (URLError, OSError):
                assert server.poll() is None, "the server ended"
                assert time.monotonic() < deadline, "no answer from the server"
                time.sleep(0.5)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)
