"""Fixtures of the delivery tests: a run's folder, undelivered journals."""

import uuid

import pytest

from flowerml.journal import Journal, RunStarted
from tests.tracking.delivery.helpers import NAME, deliver, sample_events


@pytest.fixture
def root(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def write(tmp_path):
    """Create an undelivered journal; returns its attempt's folder."""

    def write(events=None, **changes):
        root = tmp_path / uuid.uuid4().hex
        folder = root / "attempts" / "0001"
        fields = {
            "journal": uuid.uuid4().hex,
            "experiment": "flowers",
            "run_name": NAME,
            "host": "host",
            "timestamp": 1_000,
            **changes,
        }
        folder.mkdir(parents=True)
        journal = Journal.create(folder, RunStarted(**fields))
        for event in sample_events(root) if events is None else events:
            journal.append(event)
        return folder

    return write


@pytest.fixture
def undisturbed(server, write):
    """The rows of a run delivered without faults, and the number of requests it took."""
    run_id = deliver(write())
    requests = len(server.requests)
    return server.rows(run_id), requests
