"""A run whose pictures are read from S3, which goes away in the middle: waited for, and one line if it stays away."""

import threading

import pytest

from flowerml.data.sources.remote import remote_span
from flowerml.data.sources.remote.limits import COPIES_VARIABLE, STREAMED_VARIABLE
from flowerml.errors import RunFailed
from flowerml.events import MemoryRecorder
from flowerml.runs.train import run_training
from flowerml.settings import resolve
from tests.data.sources.remote.s3_server import S3Server, offered, use_credentials
from tests.data.sources.shards import shards_of
from tests.runs.conftest import SMALL
from tests.runs.interrupted_runs import assert_whole, epoch

pytest.importorskip("s3fs")
pytest.importorskip("moto.server")
pytestmark = pytest.mark.slow


@pytest.fixture
def server(monkeypatch, tmp_path):
    server = S3Server()
    use_credentials(monkeypatch, server.url, tmp_path / "none")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    remote_span._store.cache_clear()
    yield server
    server.stop()
    remote_span._store.cache_clear()


@pytest.fixture
def address(server, flowers, tmp_path, monkeypatch):
    """Tar files of which none is copied and no picture is kept."""
    monkeypatch.setenv(COPIES_VARIABLE, "1e-6")
    monkeypatch.setenv(STREAMED_VARIABLE, "1e-9")
    with offered(server, shards_of(flowers, tmp_path / "packed")) as address:
        yield address


class GoesAway(MemoryRecorder):
    """The server ends with the first epoch, and is back after `seconds`, if ever."""

    def __init__(self, server, seconds=None):
        super().__init__("first")
        self._server = server
        self.back = None if seconds is None else threading.Timer(seconds, server.start)

    def record(self, event):
        super().record(event)
        if epoch(1)(event):
            self._server.stop()
            if self.back is not None:
                self.back.start()


def run_until(recorder, address, folder):
    settings, _ = resolve({**SMALL, "dropout": 0.2, "train_dir": address, "output_dir": str(folder)})
    return run_training(settings, lambda *_: recorder)


def test_a_server_that_is_back_in_time_changes_nothing(server, address, small_run, tmp_path, monkeypatch):
    monkeypatch.setattr(remote_span, "RETRY_DELAYS_S", (0.5,) * 20)
    recorder = GoesAway(server, seconds=1.0)
    try:
        run_until(recorder, address, tmp_path / "out")
    finally:
        recorder.back.join()
    assert_whole(tmp_path / "out", small_run[0])


def test_one_that_stays_away_ends_the_run_in_one_line_and_it_goes_on_when_it_is_back(
    begin, server, address, small_run, tmp_path, monkeypatch
):
    monkeypatch.setattr(remote_span, "RETRY_DELAYS_S", (0.0,))
    try:
        with pytest.raises(RunFailed, match=r"a picture can't be read any more: .*s3://") as failed:
            run_until(GoesAway(server), address, tmp_path / "out")
    finally:
        server.start()
    assert "\n" not in str(failed.value)
    begin(train_dir=address)
    assert_whole(tmp_path / "out", small_run[0])
