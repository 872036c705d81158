"""Runs with a journal, as a training starts them; and a server that fails when it is told to."""

import pytest

from flowerml.tracking import start_run
from tests.tracking.faulty_server import FaultyServer


@pytest.fixture
def start(tmp_path):
    """Starts a run, each in the next attempt's folder of `run`; what was not ended stops with the test."""
    begun = []

    def start(settings, experiment, run_name, previous=None):
        attempt = tmp_path / "run" / "attempts" / f"{len(begun) + 1:04d}"
        attempt.mkdir(parents=True)
        begun.append(start_run(settings, experiment, run_name, attempt, previous))
        return begun[-1]

    yield start
    for recorder in begun:
        recorder.abandon()


@pytest.fixture(scope="session")
def _server(tmp_path_factory):
    server = FaultyServer(tmp_path_factory.mktemp("server"))
    yield server
    server.close()


@pytest.fixture
def server(_server, monkeypatch):
    """The server, well, and the tracking store of this test."""
    _server.reset()
    for name, value in _server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", _server.address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    yield _server
    _server.hold.set()
