"""Fixtures of the tracking tests: a started run with a journal, fast retries, and a tracking server with faults."""

import pytest

from flowerml.tracking import start_run
from tests.tracking.faulty_server import FaultyServer


@pytest.fixture
def start(tmp_path):
    """A function that starts a run in the next attempt's folder of `run`; the runs are abandoned after the test."""
    recorders = []

    def start(settings, experiment, run_name, previous=None):
        attempt = tmp_path / "run" / "attempts" / f"{len(recorders) + 1:04d}"
        attempt.mkdir(parents=True)
        recorders.append(start_run(settings, experiment, run_name, attempt, previous))
        return recorders[-1]

    yield start
    for recorder in recorders:
        recorder.abandon()


@pytest.fixture
def fast_retries(monkeypatch):
    """Retries without delay: a server that is down is retried at once."""
    monkeypatch.setattr("flowerml.tracking.delivery.background_sender._RETRY_DELAYS_S", (0.02,))


@pytest.fixture(scope="session")
def faulty_server(tmp_path_factory):
    server = FaultyServer(tmp_path_factory.mktemp("server"))
    yield server
    server.close()


@pytest.fixture
def server(faulty_server, monkeypatch):
    """The server without faults, set as the tracking store; slow answers of a busy machine count as answers."""
    faulty_server.reset()
    monkeypatch.setattr("flowerml.tracking.delivery.background_sender._START_TIMEOUT_S", 60)
    for name, value in faulty_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", faulty_server.address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    yield faulty_server
    faulty_server.hold.set()
