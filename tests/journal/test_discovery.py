"""Delivery state, and which journals of a run's folder are current."""

import shutil

import pytest

from flowerml.journal import (
    Delivered,
    Journal,
    RunStarted,
    find_journals,
    has_undelivered,
    read_delivered,
    write_delivered,
)
from tests.journal.helpers import STARTED


def test_the_delivery_state_is_saved(folder):
    folder.mkdir(parents=True)
    assert read_delivered(folder) == Delivered()
    write_delivered(folder, Delivered("sqlite:///x.db", "r", 12, unclear=True))
    assert read_delivered(folder) == Delivered("sqlite:///x.db", "r", 12, unclear=True)
    assert [path.name for path in folder.iterdir()] == ["delivered.json"]
    (folder / "delivered.json").write_text("{")
    assert read_delivered(folder) == Delivered()
    shutil.rmtree(folder)
    with pytest.raises(OSError):
        write_delivered(folder, Delivered())
    assert not folder.exists()


def test_the_newest_copy_of_each_journal_is_found(folder):
    """Attempt 2 continues 1, and 4 continues 3; 3 started over, 5 has not written anything yet."""
    attempts = folder.parent
    for name in ("0001", "0002", "0003.fenced", "0004"):
        (attempts / name).mkdir(parents=True)
    Journal.create(folder, STARTED)
    Journal.continue_from(folder, attempts / "0002")
    folder.rename(attempts / "0001.fenced")
    Journal.create(attempts / "0003.fenced", RunStarted("k" * 32, "flowers", "x", "host"))
    Journal.continue_from(attempts / "0003.fenced", attempts / "0004")
    for other in ("0005", ".0006", "notes"):
        (attempts / other).mkdir()
    assert find_journals(folder.parent.parent) == [attempts / "0002", attempts / "0004"]
    assert find_journals(attempts / "none") == []


def test_undelivered_records_are_detected_by_size(journal, folder):
    assert has_undelivered(folder)
    write_delivered(folder, Delivered("store", "r", journal.end))
    assert not has_undelivered(folder)
    assert not has_undelivered(folder.parent / "none")
