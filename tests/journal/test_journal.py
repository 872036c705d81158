"""The journal file: round trips, deduplication, torn and damaged lines, full disks, signals."""

import hashlib
import json
import math
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from flowerml.errors import LeaseLost, UserError
from flowerml.events import Artifact, Ended, Metrics, Params, Status, Tags
from flowerml.journal import (
    JOURNAL,
    DamagedLine,
    Delivered,
    Journal,
    RunResumed,
    read_delivered,
    write_delivered,
)
from tests.journal.helpers import EVENTS, STARTED, damages, records


def test_records_are_read_back_with_their_timestamps(journal, folder):
    again = Journal(folder)
    assert records(again) == [STARTED, *EVENTS]
    assert again.started == STARTED
    assert records(again)[5].timestamp == 5, "an end's time is not among what makes two ends equal"
    assert again.end == journal.end == (folder / JOURNAL).stat().st_size


def test_reading_continues_from_any_entry(journal):
    found = list(journal.records())
    for place, entry in enumerate(found, start=1):
        assert records(journal, entry.end) == [one.record for one in found[place:]]


def test_nan_and_numpy_values_are_read_back(journal):
    journal.append(Metrics({"a": math.nan, "b": np.float32(0.5)}, step=9))
    last = records(journal)[-1]
    assert math.isnan(last.values["a"])
    assert last.values["b"] == 0.5


def test_paths_in_the_runs_folder_are_relative_and_others_absolute(journal, folder, tmp_path):
    journal.append(Artifact(folder.parent.parent / "best.pth"))
    journal.append(Artifact(tmp_path / "elsewhere.txt", "test"))
    shutil.move(tmp_path / "run", tmp_path / "moved")
    moved = Journal(tmp_path / "moved" / "attempts" / "0001")
    assert records(moved)[-2:] == [
        Artifact(tmp_path / "moved" / "best.pth"),
        Artifact(tmp_path / "elsewhere.txt", "test"),
    ]


def test_a_relative_folder_is_found_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs/x/attempts/0001").mkdir(parents=True)
    journal = Journal.create(Path("runs/x/attempts/0001"), STARTED)
    journal.append(Artifact(Path("runs/x/best.pth")))
    journal.append(Artifact(Path("other.txt")))
    monkeypatch.chdir("/")
    again = Journal(tmp_path / "runs/x/attempts/0001")
    assert records(again)[1:] == [Artifact(tmp_path / "runs/x/best.pth"), Artifact(tmp_path / "other.txt")]


def test_metrics_of_a_step_params_and_tags_are_written_once(journal, folder):
    """A resumed attempt repeats steps since its checkpoint: repeats are dropped, new metrics are kept."""
    for one in (journal, Journal(folder)):
        size = one.end
        assert not one.append(Metrics({"val_accuracy": 0.3}, step=1))
        assert not one.append(Params({"lr_head": "0.1"}))
        assert not one.append(Tags({"flowerml.kind": "train"}))
        assert one.end == size
    assert journal.append(Metrics({"val_accuracy": 0.3, "lr_head": 1.0}, step=1, timestamp=5))
    assert journal.append(Params({"lr_head": "0.1", "epochs": "3"}))
    assert journal.append(Tags({"flowerml.kind": "final"}))
    assert records(journal)[-3:] == [
        Metrics({"lr_head": 1.0}, 1, 5),
        Params({"epochs": "3"}),
        Tags({"flowerml.kind": "final"}),
    ]


@pytest.mark.parametrize("seed", range(10))
def test_a_torn_last_line_is_not_read_and_is_overwritten(journal, folder, seed):
    whole = (folder / JOURNAL).read_bytes()
    ends = [0, *(found.end for found in journal.records())]
    size = random.Random(seed).randrange(ends[1], len(whole))
    (folder / JOURNAL).write_bytes(whole[:size])
    kept = sum(end <= size for end in ends[1:])
    again = Journal(folder)
    assert records(again) == [STARTED, *EVENTS][:kept]
    assert damages(again) == []
    again.append(Tags({"after": "it"}))
    assert records(again) == [*[STARTED, *EVENTS][:kept], Tags({"after": "it"})]


def test_every_flipped_byte_is_detected_and_costs_at_most_its_own_record(journal, folder):
    """Each byte of the file once; a damaged newline, which joins two lines, costs no record."""
    whole = (folder / JOURNAL).read_bytes()
    every = [STARTED, *EVENTS]
    for place in range(len(whole) - 1):
        (folder / JOURNAL).write_bytes(whole[:place] + bytes([whole[place] ^ 0x15]) + whole[place + 1 :])
        left = records(Journal(folder))
        if whole[place] == ord("\n"):
            assert left == every, place
        else:
            hit = whole[:place].count(b"\n")
            assert left == every[:hit] + every[hit + 1 :], place
            assert [found.line for found in damages(journal)][:1] == [hit + 1]


def test_a_line_of_another_version_is_reported(journal, folder):
    text = json.dumps({"kind": "hologram", "depth": 3}).encode()
    with (folder / JOURNAL).open("ab") as handle:
        handle.write(hashlib.sha256(text).hexdigest()[:16].encode() + b" " + text + b"\n")
    (found,) = damages(Journal(folder))
    assert (found.line, found.end) == (10, (folder / JOURNAL).stat().st_size)
    assert "no known kind" in found.reason


def test_it_continues_in_the_folder_of_the_next_attempt(journal, folder):
    write_delivered(folder, Delivered("store", "r", 5))
    with (folder / JOURNAL).open("ab") as handle:
        handle.write(b"0123456789abcdef {torn")
    (folder.parent / "0002").mkdir()
    following = Journal.continue_from(folder, folder.parent / "0002")
    assert records(following) == [STARTED, *EVENTS]
    assert read_delivered(following.folder) == Delivered("store", "r", 5)
    assert not following.append(Metrics({"val_accuracy": 9.0}, step=2))
    following.append(RunResumed("other"))
    assert len(records(following)) == len(records(journal)) + 1
    with pytest.raises(OSError):
        Journal.continue_from(folder.parent / "none", folder.parent / "0003")


def test_a_fenced_folder_is_not_written_to(journal, folder):
    folder.rename(folder.parent / "0001.fenced")
    with pytest.raises(LeaseLost, match="another process has taken this run over"):
        journal.append(Tags({"late": "1"}))
    assert not folder.exists()
    assert records(Journal(folder.parent / "0001.fenced")) == [STARTED, *EVENTS]


def test_a_full_disk_is_a_one_line_error_and_leaves_the_journal_intact(journal, folder, monkeypatch):
    real, calls = os.pwrite, []

    def full(handle, data, place):
        calls.append(1)
        if len(calls) == 1:
            return real(handle, data[:10], place)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(UserError, match=r"journal.jsonl: No space left on device"):
        journal.append(Tags({"a": "1"}))
    monkeypatch.undo()
    assert (folder / JOURNAL).stat().st_size == journal.end
    assert journal.append(Tags({"a": "1"}))
    assert records(Journal(folder)) == [STARTED, *EVENTS, Tags({"a": "1"})]


def test_ended_is_set_while_the_end_is_the_last_record(journal, folder):
    assert Journal(folder).ended == Ended(Status.FINISHED)
    journal.append(RunResumed("host"))
    assert journal.ended is None
    assert Journal(folder).ended is None


class Interrupts(BaseException):
    """As raised by a signal handler."""


def test_a_whole_line_is_not_overwritten_after_a_signal(journal, monkeypatch):
    """It may be delivered already: an end written over it would never be read."""

    def interrupted(_handle):
        raise Interrupts

    monkeypatch.setattr("flowerml.journal.file._fdatasync", interrupted)
    with pytest.raises(Interrupts):
        journal.append(Params({"a long name": "and a long text, longer than the end"}))
    read = journal.end
    monkeypatch.undo()
    journal.append(Ended(Status.KILLED, "stopped"))
    assert [found.record for found in journal.records(read)] == [Ended(Status.KILLED, "stopped")]
    assert not [found for found in journal.records() if isinstance(found, DamagedLine)]
    assert not journal.append(Params({"a long name": "again"})), "it counts"


@pytest.mark.parametrize("whole", [True, False])
def test_a_signal_during_a_write_leaves_a_whole_line_or_none(journal, monkeypatch, whole):
    before, write = journal.end, os.pwrite

    def interrupted(handle, data, place):
        write(handle, data if whole else data[:7], place)
        raise Interrupts

    monkeypatch.setattr("flowerml.journal.file.os.pwrite", interrupted)
    with pytest.raises(Interrupts):
        journal.append(Metrics({"val_accuracy": 0.5}, 99))
    monkeypatch.undo()
    assert (journal.end > before) is whole
    journal.append(Ended(Status.KILLED, "stopped"))
    found = list(journal.records(before))
    assert [type(one.record) for one in found] == ([Metrics, Ended] if whole else [Ended])


def test_a_removed_folder_is_not_created_again(folder):
    with pytest.raises(LeaseLost, match="has taken this run over"):
        Journal.create(folder, STARTED)
    assert not folder.exists()
