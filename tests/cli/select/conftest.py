"""A store with all candidates in it."""

import shutil

import pytest

from tests.cli.select.candidates import put_everything
from tests.tracking.made_runs import RunFactory


@pytest.fixture(scope="session")
def full_store(empty_store, tmp_path_factory):
    """Everything, put once: (the store's file, ids of some runs)."""
    folder = tmp_path_factory.mktemp("full")
    shutil.copy(empty_store, folder / "mlflow.db")
    return folder / "mlflow.db", put_everything(RunFactory(folder))


@pytest.fixture
def everything(full_store, tmp_path):
    """The test's own store has everything in it. Ids of some runs."""
    shutil.copy(full_store[0], tmp_path / "mlflow.db")
    return full_store[1]
