"""A server of S3 that goes away while pictures are read from it: it is waited for, a while."""

import threading

import pytest

from flowerml.data.location import Unreachable
from flowerml.data.sources.remote import remote_span, row_groups
from flowerml.data.sources.remote.limits import COPIES_VARIABLE, STREAMED_VARIABLE
from tests.data.pictures import put_classes
from tests.data.sources.parquet_files import parquet_of
from tests.data.sources.remote.s3_server import S3Server, offered, use_credentials
from tests.data.sources.shards import shards_of
from tests.data.sources.tables import read

pytest.importorskip("s3fs")
pytest.importorskip("moto.server")


@pytest.fixture
def server(monkeypatch, tmp_path):
    server = S3Server()
    use_credentials(monkeypatch, server.url, tmp_path / "none")
    yield server
    server.stop()


@pytest.fixture(params=[shards_of, parquet_of])
def places(request, server, tmp_path, monkeypatch):
    """Where the pictures are, of which none is copied or kept, and their bytes."""
    monkeypatch.setenv(COPIES_VARIABLE, "1e-6")
    monkeypatch.setenv(STREAMED_VARIABLE, "1e-9")
    monkeypatch.setattr(row_groups, "_MEMORY_BYTES", 0)
    row_groups._group_memory.cache_clear()
    root = put_classes(tmp_path / "photos", {"daisy": 3, "rose": 2})
    with offered(server, request.param(root, tmp_path / "packed")) as address:
        found = [file.location for file in read(address).files]
        yield found, [path.read_bytes() for path in sorted(root.rglob("*.jpg"))]


def forget():
    """As in a process that has read nothing."""
    row_groups._group_memory.cache_clear()
    row_groups._metadata.cache_clear()


def test_one_that_comes_back_is_waited_for(places, server):
    found, expected = places
    assert found[0].read() == expected[0]
    forget()
    server.stop()
    back = threading.Timer(1.2, server.start)
    back.start()
    try:
        assert [place.read() for place in found] == expected
    finally:
        back.join()


def test_one_that_stays_away_is_one_line_and_is_asked_again_when_it_is_back(places, server, monkeypatch):
    monkeypatch.setattr(remote_span, "RETRY_DELAYS_S", (0.0,))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    remote_span._store.cache_clear()
    found, expected = places
    assert found[0].read() == expected[0]
    forget()
    server.stop()
    try:
        with pytest.raises(
            Unreachable, match=r"s3://outage/s/.* can't be read \(.*127.0.0.1:\d+.*\). Try again"
        ) as failed:
            found[0].read()
    finally:
        server.start()
    assert "\n" not in str(failed.value)
    assert [place.read() for place in found] == expected
