"""A journal with one record of each kind."""

import pytest

from flowerml.journal import (
    Journal,
)
from tests.journal.helpers import EVENTS, STARTED


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run" / "attempts" / "0001"


@pytest.fixture
def journal(folder):
    folder.mkdir(parents=True)
    journal = Journal.create(folder, STARTED)
    for event in EVENTS:
        assert journal.append(event)
    return journal
