"""Background delivery: servers that are down at the start, during the run and at the end; fencing, forks, signals."""

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
from flowerml.events import Artifact, Ended, Status, Tags, now_ms
from flowerml.files import write_text
from flowerml.journal import Journal, read_delivered
from flowerml.tracking import sync_folder
from flowerml.tracking.delivery.journal_delivery import JournalDelivery
from flowerml.tracking.heartbeat import HEARTBEAT
from tests.tracking.delivery.helpers import attempt_folder, metrics, points, record_epochs, settings, wait_for_points
from tests.tracking.faulty_server import wait_for

logger = logging.getLogger(__name__)


def test_a_server_that_is_down_from_the_start_is_one_warning_and_gets_everything_later(server, start, root, capsys):
    server.down()
    try:
        recorder = start(settings(), "flowers", "x")
        assert recorder.run_id == ""
        write_text(root / "history.csv", "epoch\n")
        record_epochs(recorder, 1, 2)
        recorder.record(Artifact(root / "history.csv"))
        recorder.record(Ended(Status.FINISHED, "", 5_000))
        recorder.close()
        stderr = capsys.readouterr().err
        assert stderr.count("warning:") == 2, stderr
        assert f"does not answer (Connection refused): events are kept in {root} and go there later" in stderr
        assert (
            f"5 events are not at MLflow yet; they are kept in {root}: `flowerml sync {root}` delivers them" in stderr
        )
    finally:
        server.up()
    done = sync_folder(root)
    assert (done.delivered, done.pending, done.run_ended) == (5, 0, True), done.reason
    run = server.store.get_run(done.run_id)
    assert (run.info.status, run.info.end_time, run.info.run_name) == ("FINISHED", 5_000, "x")
    assert run.info.start_time == Journal(attempt_folder(root, 1)).started.timestamp, (
        "its own start, not that of the delivery"
    )
    assert points(server, done.run_id) == [(1, 1_000), (2, 2_000)]


@pytest.mark.parametrize("fault", ["lost", "503", "page"])
def test_an_outage_during_the_run(server, start, root, fast_retries, capsys, fault):
    recorder = start(settings(), "flowers", "x")
    record_epochs(recorder, 1)
    wait_for_points(server, recorder, 1)
    server.fault = lambda number, path: fault
    record_epochs(recorder, 2)
    wait_for(lambda: recorder._sender._failures)
    record_epochs(recorder, 3)
    server.fault = lambda number, path: None
    wait_for_points(server, recorder, 1, 2, 3)
    recorder.record(Ended(Status.FINISHED))
    recorder.close()
    assert server.store.get_run(recorder.run_id).info.status == "FINISHED"
    stderr = capsys.readouterr().err
    assert stderr.count("warning:") == 1, stderr
    assert stderr.count("is there again") == 1


def test_a_server_that_hangs_at_the_end_is_not_waited_for(server, start, root, capsys):
    recorder = start(settings(), "flowers", "x")
    record_epochs(recorder, 1)
    wait_for_points(server, recorder, 1)
    server.hold.clear()
    server.fault = lambda number, path: "hang"
    record_epochs(recorder, 2)
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
    wait_for_points(server, recorder, 1, 2)


def test_a_server_that_hangs_at_the_start_is_not_waited_for(server, start, root, fast_retries, monkeypatch, capsys):
    monkeypatch.setattr("flowerml.tracking.delivery.background_sender._START_TIMEOUT_S", 0.5)
    server.hold.clear()
    server.fault = lambda number, path: "hang"
    recorder = start(settings(), "flowers", "x")
    assert recorder.run_id == ""
    assert "has not answered yet: the training begins" in capsys.readouterr().err
    record_epochs(recorder, 1)
    server.fault = lambda number, path: None
    server.hold.set()
    wait_for_points(server, recorder, 1)
    recorder.record(Ended(Status.FINISHED))
    recorder.close()
    assert server.store.get_run(recorder.run_id).info.status == "FINISHED"
    assert read_delivered(attempt_folder(root, 1)).bytes == Journal(attempt_folder(root, 1)).end


@pytest.mark.parametrize("fault", ["page", "refuse"])
def test_a_refusal_at_the_start_is_fatal(server, start, fault):
    if fault == "refuse":
        server.store.delete_experiment(server.store.create_experiment("refused"))
    else:
        server.fault = lambda number, path: "page"
    with pytest.raises(
        UserError,
        match="'refused' was deleted" if fault == "refuse" else "is no MLflow server .what came is not from MLflow",
    ):
        start(settings(), "refused", "x")
    wait_for(lambda: not any(thread.name == "mlflow-sender" for thread in threading.enumerate()))


def test_heartbeats_are_sent_and_a_run_closed_as_stale_is_running_again(server, start, fast_retries, monkeypatch):
    monkeypatch.setattr("flowerml.tracking.delivery.background_sender._HEARTBEAT_INTERVAL_S", 0.05)
    before = now_ms()
    recorder = start(settings(), "flowers", "x")
    tags = lambda: server.store.get_run(recorder.run_id).data.tags  # noqa: E731
    heartbeat = json.loads(tags()[HEARTBEAT])
    assert (heartbeat["pid"], heartbeat["time"] >= before) == (os.getpid(), True)
    wait_for(lambda: json.loads(tags()[HEARTBEAT])["time"] > heartbeat["time"])
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


def test_a_fenced_run_sends_nothing_more(server, start, root):
    recorder = start(settings(), "flowers", "x")
    record_epochs(recorder, 1)
    wait_for_points(server, recorder, 1)
    attempt_folder(root, 1).rename(root / "attempts" / "0001.fenced")
    for event in (metrics(2), Ended(Status.FINISHED)):
        with pytest.raises(LeaseLost, match="taken this run over"):
            recorder.record(event)
    wait_for(lambda: not any(thread.name == "mlflow-sender" for thread in threading.enumerate()))
    assert server.store.get_run(recorder.run_id).info.status == "RUNNING"
    wait_for_points(server, recorder, 1)


def test_the_final_status_is_delivered_if_the_disk_is_full(server, start, root, monkeypatch, capsys):
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


def import_print_and_log(error):
    """Like a data loader's worker: import, print, log, exit."""
    with suppress(Exception):
        import csv  # noqa: F401

        print("here", file=open(os.devnull, "w"), flush=True)  # noqa: SIM115, PTH123

        logger.info("x")
        error.value = 0


@pytest.mark.slow
def test_processes_forked_while_events_are_sent_do_not_deadlock(server, start, monkeypatch):
    """A lock held by the sending thread during the fork would stay locked in the child for ever."""
    recorder = start(settings(), "flowers", "x")
    stop = threading.Event()

    def record_tags():
        step = 0
        while not stop.is_set():
            step += 1
            recorder.record(Tags({f"t{step % 50}": str(step)}))

    recording = threading.Thread(target=record_tags)
    recording.start()
    fork = multiprocessing.get_context("fork")
    try:
        for _ in range(20):
            error = fork.Value("i", 1, lock=False)
            child = fork.Process(target=import_print_and_log, args=(error,))
            child.start()
            child.join(20)
            assert (child.exitcode, error.value) == (0, 0)
    finally:
        stop.set()
        recording.join()
    recorder.record(Ended(Status.FINISHED))
    recorder.close()
    assert server.store.get_run(recorder.run_id).info.status == "FINISHED"


def test_a_run_fenced_at_its_start_ends_at_once(server, start, root, monkeypatch):
    """The sending thread has ended, so there would never be a response to wait for."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root.parent / 'other.db'}")

    def fence(self, env_run_id=None, *, alive=False):
        shutil.rmtree(attempt_folder(root, 1))
        raise FileNotFoundError

    monkeypatch.setattr(JournalDelivery, "open", fence)
    with pytest.raises(LeaseLost, match="has taken this run over"):
        start(settings(), "flowers", "x")


@pytest.mark.parametrize("resumed", [False, True])
def test_ctrl_c_while_the_run_is_created_leaves_no_running_run(server, start, root, monkeypatch, resumed):
    if resumed:
        first = start(settings(), "flowers", "x")
        first.record(Ended(Status.KILLED, "why"))
        first.close()
    original_open = JournalDelivery.open

    def interrupted(self, env_run_id=None, *, alive=False):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.2)  # the signal arrives while the run is being created
        original_open(self, env_run_id, alive=alive)

    monkeypatch.setattr(JournalDelivery, "open", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # workers of pytest-xdist ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            start(settings(), "flowers", "x", attempt_folder(root, 1) if resumed else None)
    finally:
        signal.signal(signal.SIGINT, before)
    (experiment,) = (one.experiment_id for one in server.store.search_experiments() if one.name == "flowers")
    runs = {run.data.tags["flowerml.journal"]: run for run in server.store.search_runs([experiment])}
    run = runs[Journal(attempt_folder(root, 1)).started.journal]
    assert (run.info.status, run.data.tags["flowerml.reason"]) == (
        "KILLED",
        "why" if resumed else "stopped before it began",
    )
