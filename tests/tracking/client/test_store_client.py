"""What was logged was answered by the server, whatever MLFLOW_ENABLE_ASYNC_LOGGING says."""

import re

import mlflow
import pytest
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from flowerml.events import Ended, Params, Status, Tags
from flowerml.tracking import start_child_run
from flowerml.tracking.client.store_client import StoreClient
from tests.conftest import ROOT
from tests.tracking.delivery.helpers import metrics, points, record_epochs, settings
from tests.tracking.faulty_server import wait_for

CALLS = {
    "log_metric": lambda client, run_id: client.log_metric(run_id, "a", 1.0, synchronous=False),
    "log_param": lambda client, run_id: client.log_param(run_id, "a", "1", synchronous=False),
    "set_tag": lambda client, run_id: client.set_tag(run_id, "a", "1", synchronous=False),
    "log_batch": lambda client, run_id: client.log_batch(run_id, [Metric("a", 1.0, 1, 1)], synchronous=False),
}


@pytest.fixture(params=["in the environment", "in the process"])
def asynchronous(request, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    if request.param == "in the environment":
        monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    else:
        monkeypatch.delenv("MLFLOW_ENABLE_ASYNC_LOGGING", raising=False)
        mlflow.config.enable_async_logging(True)
    yield
    monkeypatch.delenv("MLFLOW_ENABLE_ASYNC_LOGGING", raising=False)


@pytest.mark.parametrize("call", CALLS)
def test_a_call_whose_request_fails_raises(server, asynchronous, call):
    client = StoreClient()
    run_id = client.create_run("0").info.run_id
    CALLS[call](client, run_id)
    server.reset(lambda number, path: "503")
    with pytest.raises(MlflowException):
        CALLS[call](client, run_id)


def test_no_epoch_is_lost_in_a_short_outage(server, start, asynchronous, fast_retries):
    recorder = start(settings(), "flowers", "x")
    broken = iter(range(3))
    server.reset(lambda number, path: "503" if path.endswith("log-batch") and next(broken, None) is not None else None)
    recorder.record(Tags({"flowerml.kind": "train"}))
    recorder.record(Params({"lr_head": "0.001"}))
    record_epochs(recorder, *range(1, 6))
    wait_for(lambda: recorder.pending == 0)
    recorder.record(Ended(Status.FINISHED))
    recorder.close()
    assert points(server, recorder.run_id) == [(step, 1_000 * step) for step in range(1, 6)]
    run = server.store.get_run(recorder.run_id)
    assert (run.data.params["lr_head"], run.data.tags["flowerml.kind"]) == ("0.001", "train")


def test_an_evaluation_counts_what_was_not_answered(server, asynchronous, capsys):
    recorder = start_child_run(None, "evaluations", "eval", "eval")
    server.reset(lambda number, path: "503" if path.endswith("log-batch") else None)
    recorder.record(metrics(1))
    server.reset()
    recorder.record(metrics(2))
    recorder.close()
    assert points(server, recorder.run_id) == [(1, 1_000), (2, 2_000)]


def test_all_of_flowerml_uses_this_client():
    """MLflow's own client and its module-level functions (mlflow.log_metric) obey the variable."""
    found = [
        f"{path}: {line}"
        for path in (ROOT / "flowerml").rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if re.search(r"\bMlflowClient\(|\bmlflow\.(log_|set_tag|start_run)", line)
    ]
    assert found == []
