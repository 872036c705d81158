"""`flowerml ui` refuses wrong input; tests/project/test_readme.py starts it."""

import shutil
import signal
import socket

import pytest
from mlflow.tracking import MlflowClient

from flowerml.cli.main import run_command


@pytest.fixture
def store(empty_store, tmp_path, monkeypatch):
    """A store with a run in the experiment `petals`; returns its address and the experiment's id."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    client = MlflowClient(address)
    client.create_experiment("empty")
    experiment = client.create_experiment("petals")
    client.create_run(experiment)
    return address, experiment


def test_wrong_input_is_one_line(store, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for words, line in {
            ("--port", "x"): "--port is 'x'. Allowed: whole number, 1 to 65535",
            ("--port", "70000"): "--port is '70000'. Allowed: whole number, 1 to 65535",
            ("--port", port): (
                f"--port {port} on 127.0.0.1: Address already in use. Give another, or stop what listens there"
            ),
            ("--experiment", "roses"): (
                f"--experiment roses: {store[0]} has none of that name. It has petals, empty, Default"
            ),
        }.items():
            handler = signal.getsignal(signal.SIGTERM)
            assert run_command("ui", words) == 2
            assert signal.getsignal(signal.SIGTERM) == handler
            assert capsys.readouterr() == ("", f"error: {line}\n")
