"""Fixtures of the downloads: a server that misbehaves on demand, a train folder, no proxy."""

import pytest

from tests.data.download.archive_server import ArchiveServer


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


@pytest.fixture
def serve():
    """A function that starts a server answering with these turns."""
    servers = []

    def start(*turns):
        servers.append(ArchiveServer(*turns))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def train(tmp_path):
    return tmp_path / "data" / "train"
