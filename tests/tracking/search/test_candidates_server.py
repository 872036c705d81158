"""The queries of the selection, on a real tracking server over HTTP and on the Postgres behind it."""

import math

import mlflow
import pytest
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

from flowerml.errors import UserError
from flowerml.selection.records import Scope
from flowerml.tracking import TrackedRuns
from tests.tracking import compose_server as compose
from tests.tracking.made_runs import DATA, SPLIT, TOTAL, predictions_csv

pytestmark = pytest.mark.slow
postgres, compose_server = compose.postgres, compose.compose_server
_ACCOUNTS = {
    "PGPASSWORD": compose.PASSWORD,
    "MLFLOW_TRACKING_USERNAME": "admin",
    "MLFLOW_TRACKING_PASSWORD": compose.ADMIN_PASSWORD,
}


@pytest.fixture(scope="module")
def addresses(postgres, compose_server):
    """(HTTP address, Postgres address) of one store with runs, written over HTTP."""
    http = f"http://127.0.0.1:{compose_server[0]}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _ACCOUNTS.items():
            patch.setenv(name, value)
        add_runs(MlflowClient(tracking_uri=http))
        yield http, f"postgresql+psycopg2://mlflow@127.0.0.1:{postgres}/mlflow"


def add_runs(client):
    """Configuration a with seeds 11, 23, 47 (one without a file), b with NaN, RUNNING, FAILED; one of another split."""
    rows = [("a", 11, 90, "FINISHED"), ("a", 23, 91, "FINISHED"), ("a", 47, 92, "FINISHED")]
    rows += [
        ("b", 11, math.nan, "FINISHED"),
        ("b", 23, 95, "RUNNING"),
        ("b", 47, None, "FAILED"),
        ("other", 11, 99, "FINISHED"),
    ]
    for place, (config, seed, hits, status) in enumerate(rows):
        fields = {
            "kind": "train",
            "family": "cnn",
            "config_id": config,
            "seed": seed,
            "classes": "a,b",
            "val_total": TOTAL,
        }
        fields |= {
            "data_digest": DATA,
            "split_digest": "6" * 64 if config == "other" else SPLIT,
            "campaign": "it's 50%",
        }
        tags = {f"flowerml.{name}": str(text) for name, text in fields.items()}
        run_id = client.create_run("0", 1_000_000 + place, tags, f"{config}-s{seed}").info.run_id
        if hits is not None:
            accuracy = hits / TOTAL
            client.log_batch(
                run_id, [Metric("best_val_accuracy", accuracy, 1, 1), Metric("best_val_macro_f1", accuracy, 1, 1)]
            )
        if (config, seed) in (("a", 11), ("a", 23)):
            client.log_text(run_id, predictions_csv(hits), "predictions.csv")
        if status != "RUNNING":
            client.set_terminated(run_id, status)


@pytest.fixture(params=[0, 1], ids=["http", "postgres"])
def store(request, addresses, monkeypatch):
    """Sets one of the two addresses; returns its name."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", addresses[request.param])
    for name, value in _ACCOUNTS.items():
        monkeypatch.setenv(name, value)
    mlflow.set_tracking_uri(None)
    return ("http", "postgres")[request.param]


def test_runs_are_read_back(store):
    runs = TrackedRuns().find(Scope(family="cnn", split_digest="55", campaign="it's 50%"))
    assert [(run.run_name, run.status) for run in runs] == [
        *((f"a-s{seed}", "FINISHED") for seed in (11, 23, 47)),
        *(("b-s11", "FINISHED"), ("b-s23", "RUNNING"), ("b-s47", "FAILED")),
    ]
    assert [run.hits for run in runs] == [90, 91, 92, None, 95, None]
    assert math.isnan(runs[3].accuracy)
    assert runs[5].accuracy is None


def test_several_digests_are_listed(store):
    with pytest.raises(UserError, match="of 2 data and split digests") as caught:
        TrackedRuns().find(Scope(family="cnn"))
    assert "  data dddddddd split 55555555: 6 runs, 4 FINISHED" in str(caught.value).splitlines()


def test_picture_results_are_fetched_and_a_run_without_them_is_a_remark(store):
    tracked = TrackedRuns()
    runs = tracked.find(Scope(family="cnn", split_digest="55"))
    results = tracked.pictures(runs[:3])
    if store == "http":
        assert [int(results[run.run_id].right.sum()) for run in runs[:2]] == [90, 91]
        assert tracked.remarks == [
            f"a run has no per-picture results: no predictions.csv: a-s47 ({runs[2].run_id[:8]})"
        ]
    else:  # artifacts are served over HTTP only
        assert results == {}
        assert all("no per-picture results: predictions.csv can't be had" in remark for remark in tracked.remarks)
