"""A download from outside may not be led to a machine of this network."""

import pytest

from flowerml.data.download import adapter, session
from tests.data.download.archive_server import COUNTS, Turn
from tests.data.download.fetch_helpers import ARCHIVE, fetch, names_beside, refusal


@pytest.fixture
def outside(serve, monkeypatch):
    """A function that starts a server at 127.0.0.1 that the guard takes for one outside; no other counts as such."""

    def start(*turns):
        server = serve(*turns)
        own = int(server.url.split(":")[2].partition("/")[0])
        connect, is_private = adapter._connect, adapter.is_private_host

        def connect_to(host, port, timeout_s, *, guarded=False):
            return connect(host, port, timeout_s, guarded=guarded and port != own)

        monkeypatch.setattr(adapter, "_connect", connect_to)
        monkeypatch.setattr(session, "is_private_host", lambda host: host != "127.0.0.1" and is_private(host))
        return server

    return start


@pytest.mark.parametrize("host", ["localhost", "[::1]", "169.254.169.254", "10.0.0.1"])
def test_a_redirect_from_outside_into_this_network_is_refused(outside, train, host):
    message = refusal(train, outside(Turn(b"", status=302, location=f"http://{host}/secret.tgz")))
    assert f"leads to {host.strip('[]')}, a machine of this network: refused" in message
    assert names_beside(train) == []


def test_a_name_that_changes_its_address_meanwhile_is_refused_at_the_connection(outside, serve, train):
    inside = serve(Turn(ARCHIVE))
    message = refusal(train, outside(Turn(b"", status=302, location=inside.url)))
    assert "leads to 127.0.0.1, a machine of this network: refused" in message
    assert inside.requests == []


def test_an_address_of_this_network_may_redirect_within_it(serve, train):
    mirror = serve(Turn(ARCHIVE))
    assert fetch(train, serve(Turn(b"", status=302, location=mirror.url))) == COUNTS
