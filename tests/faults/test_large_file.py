"""Fault 19: the server dies in the middle of a large upload. The file arrives whole, in the background, as a stream."""

import hashlib
import os
import threading
import time

import psutil
import pytest
from mlflow.tracking import MlflowClient

from flowerml.events import Artifact, Ended, Metrics, Status
from flowerml.settings import resolve
from flowerml.tracking import start_run
from tests.faults.support.servers import ServerProcess

pytestmark = pytest.mark.slow
BLOCK = 1_000_000
SIZE = int(os.environ.get("LARGE_FILE_MB", "200")) * BLOCK  # 2000 has been tried


def write_file(path):
    """A file that no compression makes smaller; returns its sha256."""
    digest = hashlib.sha256()
    with path.open("wb") as handle:
        for _ in range(SIZE // BLOCK):
            block = os.urandom(BLOCK)
            digest.update(block)
            handle.write(block)
    return digest.hexdigest()


@pytest.mark.fault("19 killed in the middle of a large upload")
def test_a_large_file_arrives_whole_without_holding_up_anything(tally, tmp_path, monkeypatch):
    server = ServerProcess(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    attempt = tmp_path / "run" / "attempts" / "0001"
    attempt.mkdir(parents=True)
    digest = write_file(tmp_path / "run" / "best.pth")
    settings, _ = resolve({"model": "convnextv2_atto"})
    process, peak, ended = psutil.Process(), [0], threading.Event()

    def watch():
        while not ended.wait(0.02):
            peak[0] = max(peak[0], process.memory_info().rss)

    try:
        with tally.trial():
            recorder = start_run(settings, "flowers", "large", attempt)
            end = time.monotonic() + 60
            while not recorder.run_id:
                assert time.monotonic() < end
                time.sleep(0.01)
            before = process.memory_info().rss
            threading.Thread(target=watch, daemon=True).start()
            recorder.record(Artifact(tmp_path / "run" / "best.pth"))
            served = tmp_path / "own"
            while sum(part.stat().st_size for part in served.rglob("*") if part.is_file()) < SIZE // 20:
                assert time.monotonic() < end
            server.down()
            partly = sum(part.stat().st_size for part in served.rglob("*") if part.is_file())
            assert partly < SIZE, "it was killed too late"
            for step in range(20):  # the training goes on meanwhile
                recorder.record(Metrics({"train_loss": 1.0 / (step + 1)}, step=step))
            assert recorder.pending >= 20
            server.up()
            recorder.record(Ended(Status.FINISHED))
            while recorder.pending:
                assert time.monotonic() < end + 240
                time.sleep(0.1)
            recorder.close()
            ended.set()
            client = MlflowClient(tracking_uri=server.address)
            fetched = client.download_artifacts(recorder.run_id, "best.pth", str(tmp_path))
            with open(fetched, "rb") as handle:  # noqa: PTH123 - MLflow gives a text
                assert hashlib.file_digest(handle, "sha256").hexdigest() == digest
            assert len(client.get_metric_history(recorder.run_id, "train_loss")) == 20
            assert client.get_run(recorder.run_id).info.status == "FINISHED"
            assert peak[0] - before < SIZE / 4, "it was read into memory"
    finally:
        ended.set()
        server.down()
