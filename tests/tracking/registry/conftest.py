"""A store with finished runs, and one with a registered CNN that tests only read."""

import pytest

from flowerml.tracking import register
from tests.tracking.finished_runs import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory):
    """(address, store, decision, registration) of a store with a registered CNN, for tests that only read it."""
    folder = tmp_path_factory.mktemp("shared_store")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        store = Store(folder)
        decision = store.decide(hits=30)
        return uri, store, decision, register(decision, "cnn")


@pytest.fixture
def registered(shared_store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", shared_store[0])
    return shared_store[1:]
