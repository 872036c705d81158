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


def test_undisturbed(server, undisturbed):
    expected, _ = undisturbed
    assert expected["state"] == (NAME, "FINISHED", 1_000, 4_000, "flowers")
    assert expected["params"] == {"lr_head": "0.001", "classes": "a,b"}
    assert expected["points"]["val_accuracy"] == [(step, 2_000 + step, repr(0.1 * step)) for step in (1, 2, 3)]
    assert [path for path, _ in expected["files"]] == ["best.pth", "settings.json", "test/errors.html"]
    assert expected["tags"]["mlflow.note.content"] == "a description"


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_whichever_request_or_answer_is_lost_each_event_counts_once(server, write, undisturbed, fault):
    expected, requests = undisturbed
    for failing in range(requests):
        folder = write()
        server.reset(lambda number, path, failing=failing: fault if number == failing else None)
        assert server.rows(deliver(folder)) == expected, server.requests[failing]
        assert len(runs_with_journal(server, folder)) == 1, server.requests[failing]


@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 13))])
def test_a_third_of_all_requests_go_wrong(server, write, undisturbed, seed):
    expected, _ = undisturbed
    draw = random.Random(seed)
    folder = write()
    server.reset(lambda number, path: draw.choice([*FAULTS, *[None] * 2 * len(FAULTS)]))
    run_id = deliver(folder)
    server.reset()
    assert server.rows(run_id) == expected
    assert runs_with_journal(server, folder) == [run_id]


def test_what_was_delivered_and_not_noted_is_repeated_and_adds_nothing(server, write, undisturbed):
    """Killed between the answer and the note; or the note is lost altogether: the run is found by its journal."""
    expected, _ = undisturbed
    folder = write()
    run_id = deliver(folder)
    for noted in (replace(read_delivered(folder), bytes=0), None):
        if noted is None:
            (folder / "delivered.json").unlink()
        else:
            write_delivered(folder, noted)
        assert deliver(folder) == run_id
        assert server.rows(run_id) == expected
        assert runs_with_journal(server, folder) == [run_id]


def test_a_run_that_is_made_too_late_is_one_too_many_and_goes(server, write, undisturbed):
    """A server that hangs while it is asked for a run makes it once it wakes up: for nobody, and beside the one that
    was made meanwhile.
    """
    expected, _ = undisturbed
    folder = write()
    server.reset(lambda number, path: "hang" if path.endswith("runs/create") else None)
    server.hold.clear()
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


def test_a_run_that_is_made_by_another_process_does_not_look_alive(server, write):
    """The sign of life is that of who began it."""
    folder = write([Tags({"a": "1"})])
    run = server.store.get_run(deliver(folder))
    assert json.loads(run.data.tags["flowerml.heartbeat"]) == {"host": "host", "pid": 0, "time": 1_000}


def test_a_file_that_is_gone_is_named_and_everything_else_is_delivered(server, write, undisturbed, capsys):
    expected, _ = undisturbed
    folder = write()
    (folder.parent.parent / "best.pth").unlink()
    rows = server.rows(deliver(folder))
    assert f"{folder.parent.parent / 'best.pth'} is gone before MLflow had it" in capsys.readouterr().err
    assert rows == {**expected, "files": [entry for entry in expected["files"] if entry[0] != "best.pth"]}


def test_what_mlflow_does_not_take_is_named_and_everything_else_is_delivered(server, write, capsys):
    """A name that is no name, a param that says something else there already: no use in asking again."""
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


def test_a_damaged_line_is_named_once_and_everything_else_is_delivered(server, write, undisturbed, capsys):
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


def test_a_run_that_was_deleted_at_the_server_is_made_anew_whole(server, write, undisturbed, capsys):
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


def test_a_reason_stands_in_the_description_until_the_run_goes_on(server, write):
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
