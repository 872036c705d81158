"""An artifact store that fails stops no event: files wait for `sync`, and it is named once, with the remedy."""

import shutil
import sys
import threading

import pytest
from mlflow.tracking import MlflowClient

from flowerml.events import Artifact, Ended, Metrics, Status
from flowerml.journal import Journal, read_delivered
from flowerml.tracking import start_child_run, sync_folder
from flowerml.tracking.client.artifacts import call_artifact_store
from flowerml.tracking.client.failures import ArtifactStoreError
from flowerml.tracking.delivery.journal_delivery import JournalDelivery
from tests.tracking.delivery.helpers import attempt_folder, deliver, points, sample_events, settings
from tests.tracking.faulty_server import files

FILES = ["best.pth", "settings.json", "test/errors.html"]


@pytest.fixture
def client(empty_store, tmp_path):
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return MlflowClient()


def uploads(server):
    return [request for request in server.requests if request.startswith("PUT") and "mlflow-artifacts" in request]


def broken_artifacts(number, path):
    return "503" if "mlflow-artifacts" in path else None


def test_the_run_ends_with_its_metrics_and_sync_uploads_each_file_once(server, start, root, capsys):
    server.reset(broken_artifacts)
    recorder = start(settings(), "flowers", "x")
    for event in sample_events(root):
        recorder.record(event)
    recorder.close()
    run = server.store.get_run(recorder.run_id)
    assert (run.info.status, run.data.metrics["val_accuracy"]) == ("FINISHED", pytest.approx(0.3))
    assert points(server, recorder.run_id) == [(1, 2_001), (2, 2_002), (3, 2_003)]
    assert (recorder.pending, recorder.waiting_files) == (3, 3)
    stderr = capsys.readouterr().err
    assert stderr.count("warning:") == 2, stderr
    assert "takes no files (HTTP 503 Service Unavailable, each time): mend what it names" in stderr
    assert f"files wait in {root} for `flowerml sync {root}`" in stderr
    assert f"3 files are not at MLflow yet; they lie in {root}: `flowerml sync {root}` uploads them" in stderr
    done = sync_folder(root)
    assert (done.pending, done.server_answered) == (3, True)
    assert "takes no files" in done.reason
    server.reset()
    done = sync_folder(root)
    assert (done.run_id, done.delivered, done.pending, done.reason) == (recorder.run_id, 3, 0, "")
    assert [path for path, _ in server.rows(recorder.run_id)["files"]] == FILES
    assert len(uploads(server)) == 3
    server.reset()
    assert sync_folder(root).delivered == 0
    assert server.requests == []


def test_files_go_up_during_the_run_once_the_store_works_again(server, start, root, monkeypatch, capsys):
    monkeypatch.setattr("flowerml.tracking.delivery.file_uploads._RETRY_DELAYS_S", (0.05,))
    server.reset(broken_artifacts)
    recorder = start(settings(), "flowers", "x")
    *events, ended = sample_events(root)
    for event in events:
        recorder.record(event)
    while recorder.waiting_files != 3 or recorder.pending != 3:
        pass
    server.fault = lambda number, path: None
    while recorder.pending:
        pass
    recorder.record(ended)
    recorder.close()
    assert [path for path, _ in server.rows(recorder.run_id)["files"]] == FILES
    stderr = capsys.readouterr().err
    assert (stderr.count("takes no files"), stderr.count("takes files again")) == (1, 1)


def test_files_that_wait_are_kept_across_attempts_and_stores(server, write, tmp_path):
    folder = write()
    server.reset(broken_artifacts)
    delivery = JournalDelivery(Journal(folder))
    delivery.open()
    while delivery.deliver_batch():
        pass
    delivery.close()
    assert len(read_delivered(folder).waiting) == 3
    later = attempt_folder(folder.parent.parent, 2)
    later.mkdir()
    Journal.continue_from(folder, later)
    server.reset()
    assert [path for path, _ in server.rows(deliver(later))["files"]] == FILES


LOCATIONS = {
    "no folder": ("file://{here}/file/x", "[Errno 20] Not a directory", "make it a folder that this machine can write"),
    "no library": ("s3://bucket/x", "No module named 'boto3'", "install the Python package 'boto3' here"),
}


class _WithoutBoto3:
    """As where boto3 is not installed."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "boto3":
            raise ModuleNotFoundError("No module named 'boto3'", name="boto3")


@pytest.mark.parametrize("location", LOCATIONS)
@pytest.mark.parametrize("recorded", ["train", "eval"])
def test_a_place_that_this_machine_can_not_write(
    client, start, root, tmp_path, capsys, monkeypatch, location, recorded
):
    monkeypatch.setattr(sys, "meta_path", [_WithoutBoto3, *sys.meta_path])
    monkeypatch.delitem(sys.modules, "boto3", raising=False)
    address, reason, remedy = LOCATIONS[location]
    (tmp_path / "file").write_text("")
    client.create_experiment("flowers", artifact_location=address.format(here=tmp_path))
    if recorded == "train":
        recorder = start(settings(), "flowers", "x")
    else:
        recorder = start_child_run(None, "flowers", "x", "eval")
    for event in sample_events(root):
        recorder.record(event)
    recorder.close()
    run = client.get_run(recorder.run_id)
    assert (run.info.status, run.data.metrics["best_val_accuracy"]) == ("FINISHED", 0.3)
    stderr = capsys.readouterr().err
    assert stderr.count("takes no files") == 1, stderr
    assert reason in stderr
    assert remedy in stderr
    (tmp_path / "file").unlink()
    if (recorded, location) == ("train", "no folder"):
        assert sync_folder(root).pending == 0
        assert [path for path, _ in files(run.info.artifact_uri)] == FILES


def test_a_store_that_hangs_is_given_up(client):
    run = client.create_run("0")
    hangs = threading.Event()
    with pytest.raises(ArtifactStoreError) as caught:
        call_artifact_store(client, run, hangs.wait, lambda waited_s: waited_s > 0.2)
    hangs.set()
    assert str(caught.value.__cause__) == "no answer in time"


def test_a_hanging_store_does_not_keep_a_run_from_its_end(client, start, root, monkeypatch, capsys):
    """As a network that drops packets: the first upload never returns."""
    hangs = threading.Event()
    monkeypatch.setattr(MlflowClient, "log_artifact", lambda *_: hangs.wait(60))
    recorder = start(settings(), "flowers", "x")
    (root / "small.json").write_text("{}")
    recorder.record(Artifact(root / "small.json"))
    recorder.record(Metrics({"val_accuracy": 0.5}, 1))
    recorder.record(Ended(Status.FINISHED))
    recorder.close()
    hangs.set()
    run = client.get_run(recorder.run_id)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"val_accuracy": 0.5})
    assert "takes no files (no answer in time)" in capsys.readouterr().err
