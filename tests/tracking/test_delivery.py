"""Journals brought to a real MLflow server over a bad network: every event counts once, whatever gets lost, however
often it is tried.
"""

import json
import random
import uuid
from dataclasses import replace

import pytest
from mlflow.tracking import MlflowClient

from flowerml.events import Artifact, DatasetInput, Ended, Metrics, Params, Status, Tags
from flowerml.journal import JOURNAL, Journal, RunResumed, RunStarted, read_delivered, write_delivered
from flowerml.journal.lock import LockHeld
from flowerml.tracking.delivery.journal_delivery import JournalDelivery
from flowerml.tracking.delivery.sync import sync_folder
from tests.tracking.faulty_server import FAULTS, rows

NAME = "x"


def story(root):
    """What a small run says, after its opening."""
    root.mkdir(parents=True, exist_ok=True)
    for name, text in (("settings.json", "{}"), ("best.pth", "weights"), ("errors.html", "<p>")):
        (root / name).write_text(text)
    return [
        Tags({"flowerml.kind": "train", "flowerml.seed": "11"}),
        Params({"lr_head": "0.001", "classes": "a,b"}),
        DatasetInput("train", "d" * 64, "somewhere", "training"),
        Metrics({"effective_imbalance": 1.0}, 0, 1_500),
        Artifact(root / "settings.json"),
        *(Metrics({"val_accuracy": 0.1 * step, "train_loss": float("nan")}, step, 2_000 + step) for step in (1, 2, 3)),
        Metrics({"best_val_accuracy": 0.3}, 3, 3_000),
        Tags({"mlflow.note.content": "a description"}),
        Artifact(root / "best.pth"),
        Artifact(root / "errors.html", "test"),
        Ended(Status.FINISHED, "", 4_000),
    ]


@pytest.fixture
def write(tmp_path):
    """Makes a journal that nobody has delivered; returns its attempt's folder."""

    def write(events=None, **opening):
        root = tmp_path / uuid.uuid4().hex
        folder = root / "attempts" / "0001"
        said = {
            "journal": uuid.uuid4().hex,
            "experiment": "flowers",
            "run_name": NAME,
            "host": "host",
            "timestamp": 1_000,
            **opening,
        }
        folder.mkdir(parents=True)
        journal = Journal.create(folder, RunStarted(**said))
        for event in story(root) if events is None else events:
            journal.append(event)
        return folder

    return write


def deliver(folder, tries=200):
    """Deliver as one process after another would, each ended by the first thing that goes wrong. Returns the run's id."""
    for _ in range(tries):
        delivery = JournalDelivery(Journal(folder))
        try:
            delivery.open()
            while delivery.deliver_batch():
                if not delivery.is_open:
                    delivery.open()
            assert delivery.pending() == 0
            return delivery.run_id
        except Exception as error:
            last = error
        finally:
            delivery.close()
    raise last


def holding(server, folder):
    """The runs of the server that have a folder's journal."""
    journal = Journal(folder).started.journal
    everywhere = [one.experiment_id for one in server.store.search_experiments()]
    return [run.info.run_id for run in server.store.search_runs(everywhere, f"tags.`flowerml.journal` = '{journal}'")]


@pytest.fixture
def expected(server, write):
    """The rows of a run whose delivery nothing disturbed, and how many requests it took."""
    run_id = deliver(write())
    asked = len(server.asked)
    return server.rows(run_id), asked


def test_undisturbed(server, expected):
    told, _ = expected
    assert told["state"] == (NAME, "FINISHED", 1_000, 4_000, "flowers")
    assert told["params"] == {"lr_head": "0.001", "classes": "a,b"}
    assert told["points"]["val_accuracy"] == [(step, 2_000 + step, repr(0.1 * step)) for step in (1, 2, 3)]
    assert [path for path, _ in told["files"]] == ["best.pth", "settings.json", "test/errors.html"]
    assert told["tags"]["mlflow.note.content"] == "a description"


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_whichever_request_or_answer_is_lost_each_event_counts_once(server, write, expected, fault):
    told, asked = expected
    for place in range(asked):
        folder = write()
        server.reset(lambda number, path, place=place: fault if number == place else None)
        assert server.rows(deliver(folder)) == told, server.asked[place]
        assert len(holding(server, folder)) == 1, server.asked[place]


@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 13))])
def test_a_third_of_all_requests_go_wrong(server, write, expected, seed):
    told, _ = expected
    draw = random.Random(seed)
    folder = write()
    server.reset(lambda number, path: draw.choice([*FAULTS, *[None] * 2 * len(FAULTS)]))
    run_id = deliver(folder)
    server.reset()
    assert server.rows(run_id) == told
    assert holding(server, folder) == [run_id]


def test_what_was_delivered_and_not_noted_is_repeated_and_adds_nothing(server, write, expected):
    """Killed between the answer and the note; or the note is lost altogether: the run is found by its journal."""
    told, _ = expected
    folder = write()
    run_id = deliver(folder)
    for noted in (replace(read_delivered(folder), bytes=0), None):
        if noted is None:
            (folder / "delivered.json").unlink()
        else:
            write_delivered(folder, noted)
        assert deliver(folder) == run_id
        assert server.rows(run_id) == told
        assert holding(server, folder) == [run_id]


def test_a_run_that_is_made_too_late_is_one_too_many_and_goes(server, write, expected):
    """A server that hangs while it is asked for a run makes it once it wakes up: for nobody, and beside the one that
    was made meanwhile.
    """
    told, _ = expected
    folder = write()
    server.reset(lambda number, path: "hang" if path.endswith("runs/create") else None)
    server.hold.clear()
    with pytest.raises(Exception, match="timed out"):
        deliver(folder, tries=1)
    server.fault = lambda number, path: None
    delivery = JournalDelivery(Journal(folder))
    delivery.open()
    assert holding(server, folder) == [delivery.run_id]
    server.hold.set()
    while len(holding(server, folder)) < 2:
        pass
    while delivery.deliver_batch():
        pass
    delivery.close()
    assert holding(server, folder) == [delivery.run_id]
    assert server.rows(delivery.run_id) == told


def test_a_run_that_is_made_by_another_process_does_not_look_alive(server, write):
    """The sign of life is that of who began it."""
    folder = write([Tags({"a": "1"})])
    run = server.store.get_run(deliver(folder))
    assert json.loads(run.data.tags["flowerml.heartbeat"]) == {"host": "host", "pid": 0, "time": 1_000}


def test_nothing_is_asked_for_what_is_delivered(server, write):
    folder = write()
    deliver(folder)
    server.reset()
    done = sync_folder(folder.parent.parent)
    assert (done.delivered, done.pending, done.reason, server.asked) == (0, 0, "", [])


def test_two_at_once_are_one(server, write):
    folder = write()
    first = JournalDelivery(Journal(folder))
    with pytest.raises(LockHeld):
        JournalDelivery(Journal(folder))
    assert sync_folder(folder.parent.parent).reason == "another process delivers it just now"
    first.close()
    assert sync_folder(folder.parent.parent).delivered == 1 + len(story(folder.parent.parent))


def test_a_file_that_is_gone_is_named_and_everything_else_is_delivered(server, write, expected, capsys):
    told, _ = expected
    folder = write()
    (folder.parent.parent / "best.pth").unlink()
    left = server.rows(deliver(folder))
    assert f"{folder.parent.parent / 'best.pth'} is gone before MLflow had it" in capsys.readouterr().err
    assert left == {**told, "files": [entry for entry in told["files"] if entry[0] != "best.pth"]}


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
    told = capsys.readouterr().err
    assert set(run.data.metrics) == {"good", "good too"}
    assert run.data.params == {"lr_head": "0.001", "p": "1"}
    assert (run.data.tags["a"], run.info.status) == ("1", "FINISHED")
    assert told.count("MLflow does not take") == 2
    assert str(folder / JOURNAL) in told


def test_a_damaged_line_is_named_once_and_everything_else_is_delivered(server, write, expected, capsys):
    told, _ = expected
    folder = write()
    lines = (folder / JOURNAL).read_bytes().splitlines(keepends=True)
    number = next(place for place, line in enumerate(lines) if b'"val_accuracy": 0.2' in line)
    lines[number] = lines[number].replace(b"0.2", b"0.9")
    (folder / JOURNAL).write_bytes(b"".join(lines))
    left = server.rows(deliver(folder))
    assert capsys.readouterr().err.count(f"line {number + 1}: its checksum does not fit") == 1
    del told["points"]["val_accuracy"][1], told["points"]["train_loss"][1]
    assert left == told


def test_a_journal_without_its_first_line_can_not_be_delivered_and_says_so(server, write):
    folder = write()
    lines = (folder / JOURNAL).read_bytes().splitlines(keepends=True)
    (folder / JOURNAL).write_bytes(b"x" + lines[0][1:] + b"".join(lines[1:]))
    done = sync_folder(folder.parent.parent)
    assert "its first line is damaged" in done.reason
    assert done.pending == len(lines) - 1


def test_a_run_that_was_deleted_at_the_server_is_made_anew_whole(server, write, expected, capsys):
    told, _ = expected
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
    assert server.rows(delivery.run_id) == told


def test_another_store_gets_everything_in_a_run_of_its_own(
    server, write, expected, made, tmp_path, monkeypatch, capsys
):
    told, _ = expected
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
    assert rows(made.client, done.run_id) == told


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


def test_files_of_a_later_run_do_not_get_into_the_earlier_one(server, write, capsys):
    """Started over while the server was away, the folder's best.pth is the later run's."""
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


def test_a_run_that_is_taken_over_while_it_is_delivered_is_left_to_that_one(server, write):
    folder = write([Tags({"a": "1"})])

    def taken_over(number, path):
        if folder.exists() and path.endswith("log-batch"):
            folder.rename(folder.with_name("0001.fenced"))
        return

    server.fault = taken_over
    done = sync_folder(folder.parent.parent)
    assert (done.delivered, done.pending, done.reason) == (0, 0, "")
