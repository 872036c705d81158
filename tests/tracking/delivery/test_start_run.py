"""Events in a real MLflow store (sqlite): where they are stored, and which run is used."""

import json
import shutil

import pytest
from mlflow.tracking import MlflowClient

from flowerml.errors import UserError
from flowerml.events import Artifact, DatasetInput, Ended, Metrics, Params, Status, Tags
from flowerml.settings.serialization import as_params
from flowerml.tracking import start_child_run
from tests.tracking.delivery.helpers import settings
from tests.tracking.opened_runs import open_run


@pytest.fixture
def client(empty_store, tmp_path):
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return MlflowClient()


def test_events_land_where_the_ui_shows_them(client, start, tmp_path):
    recorder = start(settings(), "flowers", "x")
    file = tmp_path / "history.csv"
    file.write_text("epoch\n1\n")
    for event in (
        Tags({"flowerml.kind": "train"}),
        Params({"lr_head": "0.0001", "classes": "a,b"}),
        Metrics({"val_accuracy": 0.5}, step=1, timestamp=1000),
        Metrics({"val_accuracy": 0.75}, step=2, timestamp=2000),
        Artifact(file),
        Artifact(file, "test"),
        DatasetInput("train", "d" * 64, "somewhere", "training"),
        Ended(Status.FINISHED),
    ):
        recorder.record(event)
    recorder.close()
    run = client.get_run(recorder.run_id)
    assert client.get_experiment(run.info.experiment_id).name == "flowers"
    assert (run.info.run_name, run.info.status) == ("x", "FINISHED")
    assert run.data.tags["flowerml.kind"] == "train"
    assert run.data.tags["mlflow.user"], "MLflow's own tags are there as with start()"
    assert run.data.params == {"lr_head": "0.0001", "classes": "a,b"}
    points = client.get_metric_history(recorder.run_id, "val_accuracy")
    assert [(point.step, point.value, point.timestamp) for point in points] == [(1, 0.5, 1000), (2, 0.75, 2000)]
    assert [entry.path for entry in client.list_artifacts(recorder.run_id)] == ["history.csv", "test"]
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("train", "d" * 36)
    assert json.loads(data.dataset.source) == {"uri": "somewhere"}


def test_a_failed_run_says_why(client, start):
    recorder = start(settings(), "flowers", "x")
    recorder.record(Ended(Status.FAILED, "the loss is nan"))
    recorder.close()
    run = client.get_run(recorder.run_id)
    assert (run.info.status, run.data.tags["flowerml.reason"]) == ("FAILED", "the loss is nan")


def test_under_mlflow_run_its_run_is_adopted_and_equal_params_are_kept(client, start, monkeypatch):
    raw = {
        "model": "convnextv2_atto",
        "lr_head": "1e-4",
        "classes": "'b, a'",
        "epochs": "10",
        "amp": "True",
        "foreign": "1",
    }
    opened = open_run(client, monkeypatch, raw)
    chosen = settings(lr_head="1e-4")
    recorder = start(chosen, "ignored", "my-name")
    recorder.record(Params(as_params(chosen)))
    recorder.record(Ended(Status.FINISHED))
    recorder.close()
    run = client.get_run(opened)
    assert recorder.run_id == opened
    assert run.info.run_name == "my-name", "a name MLflow made up gives way"
    assert run.data.params["lr_head"] == "1e-4", "what stands in MLflow stays"
    assert run.data.params["lr_backbone"] == "0.0002", "what does not is added"
    assert client.get_experiment_by_name("ignored") is None


def test_a_name_given_by_the_user_is_kept(client, start, monkeypatch):
    opened = open_run(client, monkeypatch, {}, name="My best idea")
    start(settings(), "flowers", "x")
    assert client.get_run(opened).info.run_name == "My best idea"


def test_a_name_given_as_a_setting_wins(client, start, monkeypatch):
    opened = open_run(client, monkeypatch, {"run_name": "x"}, name="My best idea")
    start(settings(), "flowers", "x")
    assert client.get_run(opened).info.run_name == "x"


@pytest.mark.slow
@pytest.mark.parametrize("param", [{"lr_head": "auto"}, {"epochs": "11"}, {"classes": "a,b,c"}])
def test_a_different_param_makes_the_run_of_mlflow_run_a_launcher(client, start, monkeypatch, param):
    opened = open_run(client, monkeypatch, param)
    chosen = settings()
    recorder = start(chosen, "ignored", "x")
    recorder.record(Params(as_params(chosen)))
    recorder.record(Ended(Status.FAILED, "why"))
    recorder.close()
    launcher, own = client.get_run(opened), client.get_run(recorder.run_id)
    assert recorder.run_id != opened
    assert own.info.experiment_id == launcher.info.experiment_id
    assert own.data.params == as_params(chosen), "the run that counts shows what ran"
    assert launcher.data.tags["flowerml.kind"] == "launcher"
    assert launcher.data.tags["flowerml.continues"] == recorder.run_id
    assert (launcher.info.status, own.info.status) == ("FAILED", "FAILED")
    assert launcher.data.metrics == {}


def test_an_evaluation_is_a_child_of_its_training_run(client, start):
    parent = start(settings(), "flowers", "x").run_id
    child = client.get_run(start_child_run(parent, "elsewhere", "eval val of x", "eval").run_id)
    assert child.data.tags["mlflow.parentRunId"] == parent
    assert child.data.tags["flowerml.kind"] == "eval"
    assert child.info.experiment_id == client.get_run(parent).info.experiment_id
    orphan = client.get_run(start_child_run("0" * 32, "elsewhere", "eval", "eval").run_id)
    assert "mlflow.parentRunId" not in orphan.data.tags
    assert client.get_experiment(orphan.info.experiment_id).name == "elsewhere"


def test_a_deleted_experiment_is_named(client, start):
    client.delete_experiment(client.create_experiment("flowers"))
    with pytest.raises(UserError, match="'flowers' was deleted"):
        start(settings(), "flowers", "x")


def test_a_child_run_needs_a_response(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"http://127.0.0.1:9 does not answer .*MLFLOW_TRACKING_URI") as caught:
        start_child_run(None, "flowers", "x", "eval")
    assert "\n" not in str(caught.value)
