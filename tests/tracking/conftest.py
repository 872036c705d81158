"""A store for made-up runs."""

import shutil

import pytest
from mlflow.tracking import MlflowClient

from tests.tracking.made_runs import Made


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """An SQLite file with MLflow's tables and no run: making them takes seconds, copying them none."""
    folder = tmp_path_factory.mktemp("empty")
    MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    return folder / "mlflow.db"


@pytest.fixture
def made(empty_store, tmp_path):
    """Puts runs into the test's own store."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return Made(tmp_path)
