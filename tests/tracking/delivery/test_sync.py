"""`sync_folder`: deliver what earlier processes left in a run's folder."""

from dataclasses import replace

import pytest
from mlflow.tracking import MlflowClient

from flowerml.events import Artifact, Ended, Status, Tags
from flowerml.journal import JOURNAL, Journal, read_delivered
from flowerml.journal.lock import LockHeld
from flowerml.tracking.delivery.journal_delivery import JournalDelivery
from flowerml.tracking.delivery.sync import sync_folder
from tests.tracking.delivery.helpers import deliver, sample_events
from tests.tracking.faulty_server import rows


def test_a_delivered_journal_needs_no_request(server, write):
    folder = write()
    deliver(folder)
    server.reset()
    done = sync_folder(folder.parent.parent)
    assert (done.delivered, done.pending, done.reason, server.requests) == (0, 0, "", [])


def test_a_second_process_does_not_deliver_at_once(server, write):
    folder = write()
    first = JournalDelivery(Journal(folder))
    with pytest.raises(LockHeld):
        JournalDelivery(Journal(folder))
    assert sync_folder(folder.parent.parent).reason == "another process delivers it just now"
    first.close()
    assert sync_folder(folder.parent.parent).delivered == 1 + len(sample_events(folder.parent.parent))


def test_a_journal_with_a_damaged_first_line_is_reported(server, write):
    folder = write()
    lines = (folder / JOURNAL).read_bytes().splitlines(keepends=True)
    (folder / JOURNAL).write_bytes(b"x" + lines[0][1:] + b"".join(lines[1:]))
    done = sync_folder(folder.parent.parent)
    assert "its first line is damaged" in done.reason
    assert done.pending == len(lines) - 1


def test_another_store_gets_all_records_in_a_new_run(server, write, undisturbed, made, tmp_path, monkeypatch, capsys):
    expected, _ = undisturbed
    folder = write()
    there = deliver(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    done = sync_folder(folder.parent.parent)
    assert (done.pending, done.run_id != there) == (0, True)
    assert (
        f"recorded at {server.address} so far; everything goes into a new run at sqlite:///{tmp_path}/mlflow.db"
        in capsys.readouterr().err
    )
    assert rows(made.client, done.run_id) == expected


def test_a_run_that_was_started_over_is_closed_and_both_are_delivered(server, write):
    folder = write([Tags({"a": "1"})])
    second = folder.parent / "0002"
    folder = folder.rename(folder.parent / "0001.fenced")
    second.mkdir()
    journal = Journal.create(second, replace(Journal(folder).started, journal="2" * 32))
    journal.append(Ended(Status.FINISHED, "", 5))
    done = sync_folder(folder.parent.parent)
    assert (done.pending, done.run_id) == (0, read_delivered(second).run_id)
    states = {path: server.store.get_run(read_delivered(path).run_id) for path in (folder, second)}
    assert [run.info.status for run in states.values()] == ["KILLED", "FINISHED"]
    assert states[folder].data.tags["flowerml.reason"] == "it was started over in its folder"


def test_files_of_a_later_run_are_not_uploaded_to_the_earlier_one(server, write, capsys):
    """The folder was started over while the server was down: its best.pth is the later run's."""
    folder = write([])
    root = folder.parent.parent
    (root / "best.pth").write_text("weights of run 1")
    journal = Journal(folder)
    journal.append(Artifact(root / "best.pth"))
    journal.append(Ended(Status.FINISHED, "", 5))
    second = folder.parent / "0002"
    folder = folder.rename(folder.parent / "0001.fenced")
    second.mkdir()
    later = Journal.create(second, replace(journal.started, journal="2" * 32))
    (root / "best.pth").write_text("weights of run 2")
    later.append(Artifact(root / "best.pth"))
    later.append(Ended(Status.FINISHED, "", 6))
    assert sync_folder(root).pending == 0
    ids = [read_delivered(path).run_id for path in (folder, second)]
    assert [server.store.get_run(run_id).info.status for run_id in ids] == ["FINISHED", "FINISHED"]
    assert [[one.path for one in MlflowClient().list_artifacts(run_id)] for run_id in ids] == [[], ["best.pth"]]
    assert "best.pth may be a later run's" in capsys.readouterr().err


def test_a_run_fenced_during_its_delivery_is_left_to_the_newer_attempt(server, write):
    folder = write([Tags({"a": "1"})])

    def fence(number, path):
        if folder.exists() and path.endswith("log-batch"):
            folder.rename(folder.with_name("0001.fenced"))
        return

    server.fault = fence
    done = sync_folder(folder.parent.parent)
    assert (done.delivered, done.pending, done.reason) == (0, 0, "")
