"""A run that is written without a journal (an evaluation, a selection) ends, though the server is away when it does."""

import threading
import time

import pytest

from flowerml.events import Ended, Status, Tags
from flowerml.tracking import recorder as recorders
from flowerml.tracking import start_child_run
from flowerml.tracking.client.store_client import StoreClient
from tests.faults.support.servers import ServerProcess

pytestmark = pytest.mark.slow


def test_a_server_that_comes_back_gets_its_end(tmp_path, monkeypatch):
    server = ServerProcess(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    try:
        recorder = start_child_run(None, "flowers", "select D", "select")
        server.down()
        recorder.record(Tags({"flowerml.phase": "D"}))
        recorder.record(Ended(Status.FINISHED))
        restart = threading.Timer(2.0, server.up)
        restart.start()
        recorder.close()
        restart.join()
        run = StoreClient().get_run(recorder.run_id)
        assert (run.info.status, run.data.tags["flowerml.phase"]) == ("FINISHED", "D")
    finally:
        server.down()


def test_a_store_that_refuses_is_not_waited_for(monkeypatch, capsys):
    recorder = start_child_run(None, "flowers", "select D", "select")
    StoreClient().delete_run(recorder.run_id)
    recorder.record(Ended(Status.FINISHED))
    monkeypatch.setattr(recorders, "time", _NoSleep())
    recorder.close()
    assert "1 events did not reach MLflow" in capsys.readouterr().err


class _NoSleep:
    monotonic = staticmethod(time.monotonic)

    def sleep(self, _seconds):
        pytest.fail("it waits")
