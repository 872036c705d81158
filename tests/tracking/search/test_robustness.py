"""Results of `flowerml robustness` in a store: those of FINISHED runs of the weights, whatever else there is."""

import json
import shutil

import pytest
from mlflow.tracking import MlflowClient

from flowerml.errors import UserError
from flowerml.events import Artifact, Ended, Status, Tags
from flowerml.tracking import start_child_run
from flowerml.tracking.search.robustness import fetch_robustness

DIGEST, NAME = "d" * 64, "robustness.json"


@pytest.fixture
def put(tmp_path):
    """A function that records a run with a result; returns its id."""

    def put(pictures, digest=DIGEST, kind="robustness", status=Status.FINISHED, experiment="flowers", text=None):
        recorder = start_child_run(None, experiment, "x", kind)
        recorder.record(Tags({"flowerml.weights_digest": digest}))
        (tmp_path / NAME).write_text(text or json.dumps({"pictures": pictures}))
        recorder.record(Artifact(tmp_path / NAME))
        recorder.record(Ended(status))
        recorder.close()
        return recorder.run_id

    return put


def pictures():
    return [one["pictures"] for one in fetch_robustness(DIGEST)]


def test_finished_runs_of_the_weights_in_every_experiment_oldest_first(put):
    assert pictures() == []
    put(1)
    put(2, experiment="another")
    put(3, digest="e" * 64)
    put(4, kind="eval")
    put(5, status=Status.FAILED)
    assert pictures() == [1, 2]


def test_files_that_are_gone_or_damaged_and_deleted_runs_are_passed_over(put):
    put(1)
    gone, deleted = put(2), put(3)
    put(0, text="{")
    put(0, text="[]")
    client = MlflowClient()
    shutil.rmtree(client.get_run(gone).info.artifact_uri.removeprefix("file://"))
    client.delete_run(deleted)
    assert pictures() == [1]


def test_a_store_that_is_not_there_is_not_made(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'none.db'}")
    assert pictures() == []
    assert not (tmp_path / "none.db").exists()


def test_a_server_that_is_away_is_one_line(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"http://127.0.0.1:9 does not answer") as caught:
        fetch_robustness(DIGEST, briefly=True)
    assert "\n" not in str(caught.value)
