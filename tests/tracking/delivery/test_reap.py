"""Runs closed at the server as stale while alive: the next heartbeat sets them to RUNNING, and their real end wins."""

import json
import multiprocessing
import os
import signal
import threading

import pytest
from mlflow.tracking import MlflowClient

from flowerml.events import Ended, Metrics, Status, Tags, now_ms
from flowerml.tracking import close_stale_runs, heartbeat, recorder, start_child_run
from flowerml.tracking.delivery import reap
from flowerml.tracking.delivery.journal_delivery import JournalDelivery
from flowerml.tracking.heartbeat import HEARTBEAT
from tests.tracking.delivery.helpers import settings
from tests.tracking.faulty_server import wait_for

REASON = "its process 1 on h is gone: last sign of life 10 min 00 s ago"


@pytest.fixture
def running(made, start):
    """A running run with a metric at the server."""
    recorder = start(settings(), "flowers", "x")
    recorder.record(Tags({"mlflow.note.content": "mine"}))
    recorder.record(Metrics({"val_accuracy": 0.5}, 1))
    wait_for(lambda: "val_accuracy" in get_run(recorder).data.metrics)
    return recorder


def get_run(recorder):
    return MlflowClient().get_run(recorder.run_id)


def close_as_stale(recorder):
    """As `flowerml reap` on a host that can't see the folder."""
    heartbeat = {"host": "h", "pid": 1, "time": now_ms() - 600_000}
    MlflowClient().set_tag(recorder.run_id, HEARTBEAT, json.dumps(heartbeat))
    (closed,) = close_stale_runs(300, [])
    assert (closed.run_id, closed.reason) == (recorder.run_id, REASON)
    assert get_run(recorder).data.tags["mlflow.note.content"] == f"**KILLED**: {REASON}\n\nmine"


@pytest.mark.parametrize(
    ("ended", "note"), [(Ended(Status.FINISHED), "mine"), (Ended(Status.FAILED, "nan"), "**FAILED**: nan\n\nmine")]
)
def test_the_real_end_replaces_that_of_a_stale_run(running, ended, note):
    close_as_stale(running)
    running.record(ended)
    running.close()
    run = get_run(running)
    assert (run.info.status, run.data.tags.get("flowerml.reason", "")) == (ended.status, ended.reason)
    assert run.data.tags["mlflow.note.content"] == note


@pytest.fixture
def fast_heartbeats(monkeypatch):
    """Heartbeats every 0.05 s."""
    monkeypatch.setattr("flowerml.tracking.delivery.background_sender._HEARTBEAT_INTERVAL_S", 0.05)


def test_the_next_heartbeat_sets_a_closed_run_to_running_again(fast_heartbeats, running):
    """`mlflow run` terminates its run when its process ends, though another process may continue that run."""
    MlflowClient().set_terminated(running.run_id, "FAILED")
    wait_for(lambda: get_run(running).info.status == "RUNNING")


def test_no_heartbeat_reaches_an_ended_run(fast_heartbeats, running, monkeypatch):
    beats, send = [], JournalDelivery.send_heartbeat

    def count(delivery):
        beats.append(delivery)
        send(delivery)

    monkeypatch.setattr(JournalDelivery, "send_heartbeat", count)
    running._sender.close = lambda: None  # the thread goes on with heartbeats
    running.record(Ended(Status.FINISHED))
    running.close()
    wait_for(lambda: HEARTBEAT not in get_run(running).data.tags)
    before = len(beats)
    wait_for(lambda: len(beats) > before + 2)
    run = get_run(running)
    assert (run.info.status, HEARTBEAT in run.data.tags) == ("FINISHED", False)


def test_a_run_that_ends_while_others_are_closed_keeps_its_status(made, monkeypatch):
    """Checking many runs takes a while, in which a run's journal may be delivered."""
    client = MlflowClient()
    heartbeat = json.dumps({"host": "h", "pid": 1, "time": now_ms() - 600_000})
    first, second, third = (client.create_run("0", tags={HEARTBEAT: heartbeat}).info.run_id for _ in range(3))
    close = reap._close_run

    def close_slowly(client, run, heartbeat):
        for other, sets in ((first, "end"), (second, "end"), (third, "heartbeat")):
            if other != run.info.run_id and info_of(other).status == "RUNNING":
                if sets == "end":
                    client.set_terminated(other, "FINISHED")
                else:
                    client.set_tag(other, HEARTBEAT, json.dumps({"host": "h", "pid": 1, "time": now_ms()}))
        return close(client, run, heartbeat)

    def info_of(run_id):
        return client.get_run(run_id).info

    monkeypatch.setattr(reap, "_close_run", close_slowly)
    (closed,) = close_stale_runs(300, [])
    others = {first, second, third} - {closed.run_id}
    assert info_of(closed.run_id).status == "KILLED"
    assert sorted(info_of(run_id).status for run_id in others) in (["FINISHED", "FINISHED"], ["FINISHED", "RUNNING"])


def begin_selection_and_die(run_ids):
    run_ids.put(start_child_run(None, "flowers", "select", "select").run_id)
    run_ids.close()
    run_ids.join_thread()
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_selection_whose_process_was_killed_is_closed(made):
    fork = multiprocessing.get_context("fork")
    run_ids = fork.Queue()
    process = fork.Process(target=begin_selection_and_die, args=(run_ids,))
    process.start()
    run_id = run_ids.get(timeout=60)
    process.join(60)
    assert close_stale_runs(300, []) == []
    (closed,) = close_stale_runs(-1, [])
    assert (closed.run_id, closed.status) == (run_id, "KILLED")
    assert closed.reason.startswith(f"its process {process.pid} on ")
    assert MlflowClient().get_run(run_id).info.status == "KILLED"


@pytest.fixture
def selection(made, monkeypatch):
    """The run of a selection, with heartbeats every 0.05 s, whose end is tried for 0.1 s."""
    monkeypatch.setattr(heartbeat, "_INTERVAL_S", 0.05)
    monkeypatch.setattr(recorder, "_CLOSE_WAIT_S", 0.1)
    return start_child_run(None, "flowers", "select", "select")


def heartbeat_of(run):
    return heartbeat.parse_heartbeat(get_run(run).data.tags[HEARTBEAT])


def heartbeat_threads():
    return [thread for thread in threading.enumerate() if thread.name == "run-heartbeat"]


def test_a_selection_has_heartbeats_until_its_end(selection):
    first = heartbeat_of(selection)
    assert first.pid == os.getpid()
    wait_for(lambda: heartbeat_of(selection).time > first.time)
    selection.record(Ended(Status.FINISHED))
    selection.close()
    assert heartbeat_threads() == []
    assert (get_run(selection).info.status, HEARTBEAT in get_run(selection).data.tags) == ("FINISHED", False)


def test_a_selection_that_could_not_deliver_its_end_is_closed_later(selection, monkeypatch):
    """It stayed RUNNING for good."""
    with monkeypatch.context() as away:
        away.setattr(selection._writer, "_end", lambda *_: (_ for _ in ()).throw(ConnectionError("away")))
        selection.record(Ended(Status.FINISHED))
        selection.close()
    assert heartbeat_threads() == []
    assert get_run(selection).info.status == "RUNNING"
    (closed,) = close_stale_runs(-1, [])
    assert (closed.run_id, get_run(selection).info.status) == (selection.run_id, "KILLED")
