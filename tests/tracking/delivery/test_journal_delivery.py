"""Journals delivered to a real MLflow server over a faulty network: every event counts once, however many retries."""

import json
import random
from dataclasses import replace

import pytest

from flowerml.events import Ended, Metrics, Params, Status, Tags
from flowerml.journal import JOURNAL, Journal, RunResumed, read_delivered, write_delivered
from flowerml.tracking.delivery.journal_delivery import JournalDelivery
from tests.tracking.delivery.helpers import NAME, deliver, runs_with_journal
from tests.tracking.faulty_server import FAULTS

REPEATS = (pytest.mark.slow, pytest.mark.repeats)


def test_undisturbed(server, undisturbed):
    expected, _ = undisturbed
    assert expected["state"] == (NAME, "FINISHED", 1_000, 4_000, "flowers")
    assert expected["params"] == {"lr_head": "0.001", "classes": "a,b"}
    assert expected["points"]["val_accuracy"] == [(step, 2_000 + step, repr(0.1 * step)) for step in (1, 2, 3)]
    assert [path for path, _ in expected["files"]] == ["best.pth", "settings.json", "test/errors.html"]
    assert expected["tags"]["mlflow.note.content"] == "a description"


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_each_event_counts_once_whichever_request_or_response_is_lost(server, write, undisturbed, fault):
    expected, requests = undisturbed
    for failing in range(requests):
        folder = write()
        server.reset(lambda number, path, failing=failing: fault if number == failing else None)
        assert server.rows(deliver(folder)) == expected, server.requests[failing]
        assert len(runs_with_journal(server, folder)) == 1, server.requests[failing]


@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(seed, marks=REPEATS) for seed in range(3, 13))])
def test_a_third_of_all_requests_fail(server, write, undisturbed, seed):
    expected, _ = undisturbed
    rng = random.Random(seed)
    folder = write()
    server.reset(lambda number, path: rng.choice([*FAULTS, *[None] * 2 * len(FAULTS)]))
    run_id = deliver(folder)
    server.reset()
    assert server.rows(run_id) == expected
    assert runs_with_journal(server, folder) == [run_id]


def test_a_delivery_that_was_not_saved_is_repeated_and_adds_nothing(server, write, undisturbed):
    """Killed between the response and saving it, or the state is lost: the run is found by its journal."""
    expected, _ = undisturbed
    folder = write()
    run_id = deliver(folder)
    for state in (replace(read_delivered(folder), bytes=0), None):
        if state is None:
            (folder / "delivered.json").unlink()
        else:
            write_delivered(folder, state)
        assert deliver(folder) == run_id
        assert server.rows(run_id) == expected
        assert runs_with_journal(server, folder) == [run_id]


def test_a_duplicate_run_created_by_a_late_request_is_deleted(server, write, undisturbed, monkeypatch):
    """A server that hangs in `runs/create` executes it later, beside the run that was created meanwhile."""
    expected, _ = undisturbed
    folder = write()
    server.reset(lambda number, path: "hang" if path.endswith("runs/create") else None)
    server.hold.clear()
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        with pytest.raises(Exception, match="timed out"):
            deliver(folder, tries=1)
    server.fault = lambda number, path: None
    delivery = JournalDelivery(Journal(folder))
    delivery.open()
    assert runs_with_journal(server, folder) == [delivery.run_id]
    server.hold.set()
    while len(runs_with_journal(server, folder)) < 2:
        pass
    while delivery.deliver_batch():
        pass
    delivery.close()
    assert runs_with_journal(server, folder) == [delivery.run_id]
    assert server.rows(delivery.run_id) == expected


def test_a_run_created_by_another_process_does_not_look_alive(server, write):
    """The heartbeat is that of the process that started the run."""
    folder = write([Tags({"a": "1"})])
    run = server.store.get_run(deliver(folder))
    assert json.loads(run.data.tags["flowerml.heartbeat"]) == {"host": "host", "pid": 0, "time": 1_000}


def test_a_missing_file_is_reported_and_everything_else_is_delivered(server, write, undisturbed, capsys):
    expected, _ = undisturbed
    folder = write()
    (folder.parent.parent / "best.pth").unlink()
    rows = server.rows(deliver(folder))
    assert f"{folder.parent.parent / 'best.pth'} is gone before MLflow had it" in capsys.readouterr().err
    assert rows == {**expected, "files": [entry for entry in expected["files"] if entry[0] != "best.pth"]}


def test_what_mlflow_rejects_is_reported_and_everything_else_is_delivered(server, write, capsys):
    """An invalid name or another value of a logged param: a retry is useless."""
    events = [
        Tags({"a": "1"}),
        Metrics({"good": 1.0, "b\x00d": 2.0, "good too": 3.0}, 1, 5),
        Params({"lr_head": "0.001", "n" * 300: "x", "p": "1"}),
        Ended(Status.FINISHED, "", 6),
    ]
    folder = write(events)
    run = server.store.get_run(deliver(folder))
    stderr = capsys.readouterr().err
    assert set(run.data.metrics) == {"good", "good too"}
    assert run.data.params == {"lr_head": "0.001", "p": "1"}
    assert (run.data.tags["a"], run.info.status) == ("1", "FINISHED")
    assert stderr.count("MLflow does not take") == 2
    assert str(folder / JOURNAL) in stderr


def test_a_damaged_line_is_reported_once_and_everything_else_is_delivered(server, write, undisturbed, capsys):
    expected, _ = undisturbed
    folder = write()
    lines = (folder / JOURNAL).read_bytes().splitlines(keepends=True)
    number = next(place for place, line in enumerate(lines) if b'"val_accuracy": 0.2' in line)
    lines[number] = lines[number].replace(b"0.2", b"0.9")
    (folder / JOURNAL).write_bytes(b"".join(lines))
    rows = server.rows(deliver(folder))
    assert capsys.readouterr().err.count(f"line {number + 1}: its checksum does not fit") == 1
    del expected["points"]["val_accuracy"][1], expected["points"]["train_loss"][1]
    assert rows == expected


def test_a_run_deleted_at_the_server_is_delivered_again_from_the_start(server, write, undisturbed, capsys):
    expected, _ = undisturbed
    folder = write()
    delivery = JournalDelivery(Journal(folder))
    delivery.open()
    delivery.deliver_batch()
    delivery.deliver_batch()
    first = delivery.run_id
    server.store.delete_run(first)
    while delivery.deliver_batch():
        if not delivery.is_open:
            delivery.open()
    delivery.close()
    assert delivery.run_id != first
    assert f"run {first} is not at MLflow any more" in capsys.readouterr().err
    assert server.rows(delivery.run_id) == expected


def test_the_reason_is_in_the_description_until_the_run_resumes(server, write):
    folder = write([Tags({"mlflow.note.content": "mine"}), Ended(Status.FAILED, "the loss is nan", 5)])
    run_id = deliver(folder)
    run = server.store.get_run(run_id)
    assert run.data.tags["mlflow.note.content"] == "**FAILED**: the loss is nan\n\nmine"
    assert run.data.tags["flowerml.reason"] == "the loss is nan"
    Journal(folder).append(RunResumed("host"))
    deliver(folder)
    run = server.store.get_run(run_id)
    assert (run.info.status, run.data.tags["mlflow.note.content"]) == ("RUNNING", "mine")
    assert "flowerml.reason" not in run.data.tags
