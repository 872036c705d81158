"""A delivery's checks are forks of one process that has imported torch."""

from types import SimpleNamespace

import pytest

from flowerml.delivery import verify
from flowerml.delivery.formats import check
from tests.delivery.preloaded import preloaded_python


@pytest.fixture(scope="package", autouse=True)
def _preloaded_checks(tmp_path_factory):
    with preloaded_python(tmp_path_factory.mktemp("preloaded")) as python, pytest.MonkeyPatch.context() as patch:
        for module in (verify, check):
            patch.setattr(module, "sys", SimpleNamespace(executable=str(python)))
        yield


@pytest.fixture
def fresh_checks(monkeypatch):
    """A real new Python for each check, as for a user."""
    import sys

    for module in (verify, check):
        monkeypatch.setattr(module, "sys", sys)
