"""A run's events on their way while it runs: servers that are away at the start, in the middle and at the end,
resuming, launchers.
"""

import json
import logging
import multiprocessing
import os
import shutil
import signal
import threading
import time
from contextlib import suppress

import pytest

from flowerml.errors import LeaseLost, UserError
from flowerml.events import Artifact, Ended, Metrics, Params, Status, Tags, now_ms
from flowerml.files import write_text
from flowerml.journal import Journal, read_delivered
from flowerml.settings import resolve
from flowerml.settings.serialization import as_params
from flowerml.tracking import start_child_run, sync_folder
from flowerml.tracking.delivery.journal_delivery import JournalDelivery
from flowerml.tracking.heartbeat import HEARTBEAT
from tests.tracking.faulty_server import wait_for

logger = logging.getLogger(__name__)


def settings(**changes):
    asked = {
        "model": "convnextv2_atto",
        "weights": "none",
        "epochs": 10,
        "output_dir": "runs/x",
        "run_name": "x",
        "classes": "a,b",
    }
    return resolve({**asked, **changes})[0]


@pytest.fixture
def root(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def patient(monkeypatch):
    """The same thread with no patience: a server that is away is asked again at once."""
    monkeypatch.setattr("flowerml.tracking.delivery.background_sender._RETRY_DELAYS_S", (0.02,))


def metrics(step):
    return Metrics({"val_accuracy": 0.1 * step}, step, 1_000 * step)


def tell(recorder, *steps):
    for step in steps:
        recorder.record(metrics(step))


def points(server, run_id):
    return [(point.step, point.timestamp) for point in server.store.get_metric_history(run_id, "val_accuracy")]


def arrived(server, recorder, *steps):
    """Wait until the server has these points, no others."""
    wait_for(lambda: recorder.run_id and points(server, recorder.run_id) == [(step, 1_000 * step) for step in steps])


def attempt(root, number):
    return root / "attempts" / f"{number:04d}"


def test_a_server_that_is_away_from_the_start_costs_one_warning_and_gets_everything_later(server, start, root, capsys):
    server.down()
    try:
        recorder = start(settings(), "flowers", "x")
        assert recorder.run_id == ""
        write_text(root / "history.csv", "epoch\n")
        tell(recorder, 1, 2)
        recorder.record(Artifact(root / "history.csv"))
        recorder.record(Ended(Status.FINISHED, "", 5_000))
        recorder.close()
        told = capsys.readouterr().err
        assert told.count("warning:") == 2, told
        assert f"does not answer (Connection refused): events are kept in {root} and go there later" in told
        assert f"5 events are not at MLflow yet; they are kept in {root}: `flowerml sync {root}` delivers them" in told
    finally:
        server.up()
    done = sync_folder(root)
    assert (done.delivered, done.pending, done.run_ended) == (5, 0, True), done.reason
    run = server.store.get_run(done.run_id)
    assert (run.info.status, run.info.end_time, run.info.run_name) == ("FINISHED", 5_000, "x")
    assert run.info.start_time == Journal(attempt(root, 1)).started.timestamp, "its own start, not that of the delivery"
    assert points(server, done.run_id) == [(1, 1_000), (2, 2_000)]


@pytest.mark.parametrize("fault", ["lost", "503", "page"])
def test_a_server_that_goes_and_comes_back_in_mid_run(server, start, root, patient, capsys, fault):
    recorder = start(settings(), "flowers", "x")
    tell(recorder, 1)
    arrived(server, recorder, 1)
    server.fault = lambda number, path: fault
    tell(recorder, 2)
    wait_for(lambda: recorder._sender._failures)
    tell(recorder, 3)
    server.fault = lambda number, path: None
    arrived(server, recorder, 1, 2, 3)
    recorder.record(Ended(Status.FINISHED))
    recorder.close()
    assert server.store.get_run(recorder.run_id).info.status == "FINISHED"
    told = capsys.readouterr().err
    assert told.count("warning:") == 1, told
    assert told.count("is there again") == 1


def test_a_server_that_hangs_at_the_end_is_not_waited_for(server, start, root, capsys):
    recorder = start(settings(), "flowers", "x")
    tell(recorder, 1)
    arrived(server, recorder, 1)
    server.hold.clear()
    server.fault = lambda number, path: "hang"
    tell(recorder, 2)
    recorder.record(Ended(Status.KILLED, "stopped by SIGTERM"))
    recorder.close()
    assert "2 events are not at MLflow yet" in capsys.readouterr().err
    assert recorder.pending == 2
    server.fault = lambda number, path: None
    server.hold.set()
    wait_for(lambda: not any(thread.name == "mlflow-sender" for thread in threading.enumerate()))
    assert sync_folder(root).pending == 0
    run = server.store.get_run(recorder.run_id)
    assert (run.info.status, run.data.tags["flowerml.reason"]) == ("KILLED", "stopped by SIGTERM")
    arrived(server, recorder, 1, 2)


def test_a_server_that_hangs_at_the_start_is_not_waited_for(server, start, root, patient, capsys):
    server.hold.clear()
    server.fault = lambda number, path: "hang"
    recorder = start(settings(), "flowers", "x")
    assert recorder.run_id == ""
    assert "has not answered yet: the training begins" in capsys.readouterr().err
    tell(recorder, 1)
    server.fault = lambda number, path: None
    server.hold.set()
    arrived(server, recorder, 1)
    recorder.record(Ended(Status.FINISHED))
    recorder.close()
    assert server.store.get_run(recorder.run_id).info.status == "FINISHED"
    assert read_delivered(attempt(root, 1)).bytes == Journal(attempt(root, 1)).end


@pytest.mark.parametrize("fault", ["page", "refuse"])
def test_an_answer_that_refuses_stops_the_run_at_the_start(server, start, fault):
    if fault == "refuse":
        server.store.delete_experiment(server.store.create_experiment("refused"))
    else:
        server.fault = lambda number, path: "page"
    with pytest.raises(
        UserError, match="'refused' was deleted" if fault == "refuse" else "refuses .what came is not from MLflow"
    ):
        start(settings(), "refused", "x")
    wait_for(lambda: not any(thread.name == "mlflow-sender" for thread in threading.enumerate()))


def test_a_child_needs_an_answer(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"http://127.0.0.1:9 does not answer .*MLFLOW_TRACKING_URI") as caught:
        start_child_run(None, "flowers", "x", "eval")
    assert "\n" not in str(caught.value)


def test_a_resumed_run_goes_on_in_its_own_run_and_doubles_nothing(server, start, root):
    first = start(settings(), "flowers", "x")
    first.record(Params(as_params(settings())))
    tell(first, 1, 2, 3)
    first.record(Ended(Status.KILLED, "stopped by Ctrl-C"))
    first.close()
    second = start(settings(workers=1), "flowers", "x", attempt(root, 1))
    assert second.run_id == first.run_id
    wait_for(lambda: server.store.get_run(first.run_id).info.status == "RUNNING")
    second.record(Params(as_params(settings(workers=1))))
    for step in (2, 3, 4):  # 2 and 3 are done again, a little later
        second.record(Metrics({"val_accuracy": 0.1 * step}, step, 1_000 * step if step == 4 else 9_000))
    second.record(Ended(Status.FINISHED))
    second.close()
    run = server.store.get_run(first.run_id)
    assert points(server, first.run_id) == [(step, 1_000 * step) for step in (1, 2, 3, 4)]
    assert run.info.status == "FINISHED"
    assert "flowerml.reason" not in run.data.tags
    assert run.data.params == as_params(settings())
    assert (
        len(
            server.store.search_runs(
                [run.info.experiment_id], f"tags.`flowerml.journal` = '{run.data.tags['flowerml.journal']}'"
            )
        )
        == 1
    )


def test_a_resumed_run_delivers_what_the_attempt_before_had_kept(server, start, root):
    server.down()
    try:
        first = start(settings(), "flowers", "x")
        tell(first, 1, 2)
        first.abandon()  # as kill -9
    finally:
        server.up()
    second = start(settings(), "flowers", "x", attempt(root, 1))
    tell(second, 2, 3)
    second.record(Ended(Status.FINISHED))
    second.close()
    assert points(server, second.run_id) == [(step, 1_000 * step) for step in (1, 2, 3)]


def test_an_attempt_that_ended_before_its_journal_does_not_break_the_chain(server, start, root):
    first = start(settings(), "flowers", "x")
    first.record(Ended(Status.KILLED, "why"))
    first.close()
    (root / "attempts" / "0009").mkdir()
    second = start(settings(), "flowers", "x", root / "attempts" / "0009")
    assert second.run_id == first.run_id


def opened_by_mlflow_run(server, monkeypatch, experiment="0"):
    run_id = server.store.create_run(experiment, run_name="bold-crow-123").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    return run_id


def test_what_mlflow_run_opens_for_a_run_that_goes_on_is_a_launcher(server, start, root, monkeypatch):
    first = start(settings(), "flowers", "x")
    tell(first, 1)
    first.record(Ended(Status.KILLED, "why"))
    first.close()
    opened = opened_by_mlflow_run(server, monkeypatch)
    second = start(settings(), "flowers", "x", attempt(root, 1))
    tell(second, 2)
    second.record(Ended(Status.FINISHED))
    second.close()
    launcher = server.store.get_run(opened)
    assert second.run_id == first.run_id != opened
    assert (launcher.data.tags["flowerml.kind"], launcher.data.tags["flowerml.continues"]) == ("launcher", first.run_id)
    assert launcher.data.tags["mlflow.note.content"].count("\n") == 0
    assert launcher.data.metrics == {}
    assert launcher.info.status == "FINISHED"


def test_the_run_that_mlflow_run_opened_is_taken_when_the_server_is_back(server, start, root, monkeypatch):
    opened = opened_by_mlflow_run(server, monkeypatch)
    server.down()
    try:
        recorder = start(settings(), "ignored", "x")
        tell(recorder, 1)
        recorder.record(Ended(Status.FINISHED))
        recorder.close()
    finally:
        server.up()
    monkeypatch.delenv("MLFLOW_RUN_ID")
    done = sync_folder(root)
    run = server.store.get_run(opened)
    assert (done.run_id, run.info.status, run.info.run_name) == (opened, "FINISHED", "x")


def test_a_run_says_that_it_lives_and_that_it_runs_when_it_was_taken_for_dead(server, start, patient, monkeypatch):
    monkeypatch.setattr("flowerml.tracking.delivery.background_sender._HEARTBEAT_INTERVAL_S", 0.05)
    before = now_ms()
    recorder = start(settings(), "flowers", "x")
    tags = lambda: server.store.get_run(recorder.run_id).data.tags  # noqa: E731
    sign = json.loads(tags()[HEARTBEAT])
    assert (sign["pid"], sign["time"] >= before) == (os.getpid(), True)
    wait_for(lambda: json.loads(tags()[HEARTBEAT])["time"] > sign["time"])
    server.fault = lambda number, path: "503"
    wait_for(lambda: recorder._sender._failures)
    server.store.set_tag(recorder.run_id, "flowerml.reason", "it is gone")
    server.store.set_terminated(recorder.run_id, "KILLED")
    server.fault = lambda number, path: None
    wait_for(lambda: server.store.get_run(recorder.run_id).info.status == "RUNNING")
    assert "flowerml.reason" not in tags()
    recorder.record(Ended(Status.FINISHED))
    recorder.close()
    assert recorder.pending == 0


def test_a_run_that_was_taken_over_sends_nothing_any_more(server, start, root):
    recorder = start(settings(), "flowers", "x")
    tell(recorder, 1)
    arrived(server, recorder, 1)
    attempt(root, 1).rename(root / "attempts" / "0001.fenced")
    for event in (metrics(2), Ended(Status.FINISHED)):
        with pytest.raises(LeaseLost, match="taken this run over"):
            recorder.record(event)
    wait_for(lambda: not any(thread.name == "mlflow-sender" for thread in threading.enumerate()))
    assert server.store.get_run(recorder.run_id).info.status == "RUNNING"
    arrived(server, recorder, 1)


def test_an_end_that_the_disk_does_not_take_is_told_all_the_same(server, start, root, monkeypatch, capsys):
    recorder = start(settings(), "flowers", "x")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(UserError, match="No space left"):
        recorder.record(metrics(1))
    recorder.record(Ended(Status.FAILED, "the disk is full"))
    recorder.close()
    run = server.store.get_run(recorder.run_id)
    assert (run.info.status, run.data.tags["flowerml.reason"]) == ("FAILED", "the disk is full")
    assert "the end could not be kept" in capsys.readouterr().err


def shout(error):
    """As a loading process does: import, print, end."""
    with suppress(Exception):
        import csv  # noqa: F401

        print("here", file=open(os.devnull, "w"), flush=True)  # noqa: SIM115, PTH123

        logger.info("x")
        error.value = 0


def test_processes_forked_while_events_are_sent_are_not_held_up(server, start, monkeypatch):
    """A lock that the sending thread holds at that moment would be held in them for ever."""
    recorder = start(settings(), "flowers", "x")
    stop = threading.Event()

    def chatter():
        step = 0
        while not stop.is_set():
            step += 1
            recorder.record(Tags({f"t{step % 50}": str(step)}))

    talking = threading.Thread(target=chatter)
    talking.start()
    fork = multiprocessing.get_context("fork")
    try:
        for _ in range(20):
            error = fork.Value("i", 1, lock=False)
            child = fork.Process(target=shout, args=(error,))
            child.start()
            child.join(20)
            assert (child.exitcode, error.value) == (0, 0)
    finally:
        stop.set()
        talking.join()
    recorder.record(Ended(Status.FINISHED))
    recorder.close()
    assert server.store.get_run(recorder.run_id).info.status == "FINISHED"


def test_a_run_whose_folder_is_taken_away_at_its_start_ends_at_once(server, start, root, monkeypatch):
    """Nobody would ever answer: the thread that asks has seen it, and ended."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root.parent / 'other.db'}")

    def taken_over(self, opened=None, *, alive=False):
        shutil.rmtree(attempt(root, 1))
        raise FileNotFoundError

    monkeypatch.setattr(JournalDelivery, "open", taken_over)
    with pytest.raises(LeaseLost, match="has taken this run over"):
        start(settings(), "flowers", "x")


@pytest.mark.parametrize("resumed", [False, True])
def test_ctrl_c_while_the_run_is_made_leaves_none_that_runs(server, start, root, monkeypatch, resumed):
    if resumed:
        first = start(settings(), "flowers", "x")
        first.record(Ended(Status.KILLED, "why"))
        first.close()
    made = JournalDelivery.open

    def interrupted(self, opened=None, *, alive=False):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.2)  # it is heard while the run is being made
        made(self, opened, alive=alive)

    monkeypatch.setattr(JournalDelivery, "open", interrupted)
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # processes of several that test together ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            start(settings(), "flowers", "x", attempt(root, 1) if resumed else None)
    finally:
        signal.signal(signal.SIGINT, before)
    (experiment,) = (one.experiment_id for one in server.store.search_experiments() if one.name == "flowers")
    runs = {run.data.tags["flowerml.journal"]: run for run in server.store.search_runs([experiment])}
    run = runs[Journal(attempt(root, 1)).started.journal]
    assert (run.info.status, run.data.tags["flowerml.reason"]) == (
        "KILLED",
        "why" if resumed else "stopped before it began",
    )
