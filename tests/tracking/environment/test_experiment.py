"""Without a flag, MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID names the experiment, as MLflow itself reads them."""

import shutil

import pytest
from mlflow.tracking import MlflowClient

from flowerml.errors import UserError
from flowerml.tracking import default_experiment
from tests.tracking.opened_runs import open_run


@pytest.fixture
def client(empty_store, tmp_path):
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return MlflowClient()


def test_the_name_the_id_or_nothing(client, monkeypatch):
    assert default_experiment() is None
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", client.create_experiment("of the team"))
    assert default_experiment() == "of the team"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    assert default_experiment() == "mine"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "")
    assert default_experiment() == "of the team"


def test_the_run_of_mlflow_run_is_in_its_experiment_already(client, monkeypatch):
    open_run(client, monkeypatch)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    assert default_experiment() is None


def test_an_unknown_or_deleted_experiment_and_a_bad_name_are_refused(client, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "77")
    with pytest.raises(UserError, match=r"^MLFLOW_EXPERIMENT_ID 77 is no experiment of .*: name one with --experiment"):
        default_experiment()
    deleted = client.create_experiment("old")
    client.delete_experiment(deleted)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", deleted)
    with pytest.raises(UserError, match="is the experiment 'old', which was deleted: name one with --experiment"):
        default_experiment()
    for name in ("x" * 300, "a\nb", "  "):
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", name)
        with pytest.raises(UserError, match="Allowed: text, up to 256 characters"):
            default_experiment()


def test_an_id_that_no_server_can_look_up_is_a_warning(monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "77")
    assert default_experiment() is None
    stderr = capsys.readouterr().err
    assert "MLFLOW_EXPERIMENT_ID does not count, as the MLflow tracking store http://127.0.0.1:9 does not" in stderr
