"""A run's model in MLflow: once, with the metrics of the dataset that each was measured on."""

import json
import shutil

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND, NOT_IMPLEMENTED, RESOURCE_DOES_NOT_EXIST
from mlflow.tracking import MlflowClient

from flowerml.events import DatasetInput, Ended, Metrics, Status, TrainedModel
from flowerml.tracking import MlflowRecorder
from flowerml.tracking.client.store_client import StoreClient
from flowerml.tracking.delivery.run_writer import RunWriter
from flowerml.tracking.heartbeat import HEARTBEAT
from tests.tracking.delivery.helpers import settings

EVENTS = (
    DatasetInput("train", "a" * 64, "photos", "training", json.dumps({"num_rows": 8})),
    DatasetInput("validation", "b" * 64, "photos", "validation", json.dumps({"num_rows": 2})),
    DatasetInput("test", "c" * 64, "others", "test"),
    TrainedModel("B01 lr=1e-3: 0.5/2", {"model": "convnextv2_atto", "seed": "11"}),
    Metrics({"best_val_accuracy": 0.5, "test_accuracy": 0.25}, 3, 1000, of_model=True),
)


@pytest.fixture
def client(empty_store, tmp_path):
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return MlflowClient()


def models(client, run):
    return client.search_logged_models([run.info.experiment_id])


def test_a_run_has_one_model_with_its_metrics(client, start):
    recorder = start(settings(), "flowers", "x")
    for event in (*EVENTS, EVENTS[3], Ended(Status.FINISHED)):  # a run that goes on after its end records it again
        recorder.record(event)
    recorder.close()
    run = client.get_run(recorder.run_id)
    (model,) = models(client, run)
    assert (model.name, model.status, model.source_run_id) == ("B01 lr=1e-3_ 0_5_2", "READY", recorder.run_id)
    assert model.tags == {name: run.data.tags[name] for name in ("mlflow.source.name", "mlflow.source.type")}
    assert model.params == {"model": "convnextv2_atto", "seed": "11"}
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    found = {metric.key: (metric.value, metric.step, metric.dataset_name) for metric in model.metrics}
    assert found == {"best_val_accuracy": (0.5, 3, "validation"), "test_accuracy": (0.25, 3, "test")}
    assert run.data.metrics == {"best_val_accuracy": 0.5, "test_accuracy": 0.25}, "they are the run's as well"
    profiles = {used.dataset.name: used.dataset.profile for used in run.inputs.dataset_inputs}
    assert json.loads(profiles["validation"]) == {"num_rows": 2}


def test_a_process_that_delivers_the_rest_finds_the_model(client):
    run = client.create_run(client.create_experiment("flowers"))
    first, second = (RunWriter(StoreClient(), client.get_run(run.info.run_id)) for _ in range(2))
    for event in EVENTS[:4]:
        first.write(event)
    second.write(EVENTS[3])
    second.write(EVENTS[4])
    (model,) = models(client, run)
    assert {metric.key for metric in model.metrics} == {"best_val_accuracy", "test_accuracy"}


@pytest.mark.parametrize("code", [ENDPOINT_NOT_FOUND, NOT_IMPLEMENTED, RESOURCE_DOES_NOT_EXIST])
def test_a_server_without_models_still_takes_the_metrics(client, monkeypatch, code):
    def unknown(*_, **__):
        raise MlflowException("no such endpoint", error_code=code)

    monkeypatch.setattr(StoreClient, "create_logged_model", unknown)
    run = client.create_run(client.create_experiment("flowers"))
    recorder = MlflowRecorder(StoreClient(), run.info.run_id)
    for event in EVENTS:
        recorder.record(event)
    assert client.get_run(run.info.run_id).data.metrics == {"best_val_accuracy": 0.5, "test_accuracy": 0.25}
    assert models(client, run) == []


def test_a_run_that_has_ended_has_no_heartbeat(client, start):
    """It tells a live run from a dead one; on the page of a finished run it was the first of twenty tags."""
    recorder = start(settings(), "flowers", "x")
    assert HEARTBEAT in client.get_run(recorder.run_id).data.tags
    recorder.record(Ended(Status.FINISHED))
    recorder.close()
    run = client.get_run(recorder.run_id)
    assert (run.info.status, HEARTBEAT in run.data.tags) == ("FINISHED", False)
