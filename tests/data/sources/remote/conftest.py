"""Servers, a cache folder of the test's own, and a process that asks anew."""

import pytest

from flowerml.data.scan_cache import CACHE_DIR_VARIABLE
from flowerml.data.sources.remote import copy, remote_span
from tests.data.sources.remote.servers import serving


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_DIR_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr("flowerml.data.scan_cache._MIN_AGE_NS", -(10**12))
    copy.local_copy.cache_clear()
    remote_span._store.cache_clear()
    return tmp_path / "cache"


@pytest.fixture
def site():
    with serving() as site:
        yield site


@pytest.fixture
def again():
    """Forget what was brought, as another process would."""
    return copy.local_copy.cache_clear


@pytest.fixture
def at_once(monkeypatch):
    """Attempts follow each other at once."""
    monkeypatch.setattr(remote_span, "RETRY_DELAYS_S", (0.0, 0.0))
