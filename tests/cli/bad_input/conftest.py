"""What the tables of bad input share: a small finished run, and a place for each case."""

import shutil

import pytest
from mlflow.tracking import MlflowClient

from flowerml.cli.main import run_command
from tests.cli.bad_input import rows as bad


@pytest.fixture(scope="session")
def trained(flowers, tmp_path_factory):
    """The folder of a small run that has finished, and beside it `empty.db`, a store without runs."""
    root = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
        MlflowClient().search_experiments()
        shutil.copy("mlflow.db", "empty.db")
        (root / "flowers").symlink_to(flowers)
        assert run_command(*bad.command_of("train")) == 0
    return root / "out"


@pytest.fixture
def place(trained, flowers, tmp_path, monkeypatch):
    """The working folder of a case; its store is a copy of an empty one, which saves its making."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(trained.parent / "empty.db", tmp_path / "mlflow.db")
    (tmp_path / "flowers").symlink_to(flowers)
    made = bad.Place(tmp_path, trained)
    yield made
    made.tidy()
