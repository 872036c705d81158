"""Resumed runs continue their own MLflow run; what `mlflow run` opens for one is a launcher."""

from flowerml.events import Ended, Metrics, Params, Status
from flowerml.settings.serialization import as_params
from flowerml.tracking import sync_folder
from tests.tracking.delivery.helpers import attempt_folder, points, record_epochs, settings
from tests.tracking.faulty_server import wait_for
from tests.tracking.opened_runs import open_run


def test_a_resumed_run_continues_its_mlflow_run_without_duplicates(server, start, root):
    first = start(settings(), "flowers", "x")
    first.record(Params(as_params(settings())))
    record_epochs(first, 1, 2, 3)
    first.record(Ended(Status.KILLED, "stopped by Ctrl-C"))
    first.close()
    second = start(settings(workers=1), "flowers", "x", attempt_folder(root, 1))
    assert second.run_id == first.run_id
    wait_for(lambda: server.store.get_run(first.run_id).info.status == "RUNNING")
    second.record(Params(as_params(settings(workers=1))))
    for step in (2, 3, 4):  # 2 and 3 are repeated, a little later
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


def test_a_resumed_run_delivers_the_records_of_the_attempt_before(server, start, root):
    server.down()
    try:
        first = start(settings(), "flowers", "x")
        record_epochs(first, 1, 2)
        first.abandon()  # as kill -9
    finally:
        server.up()
    second = start(settings(), "flowers", "x", attempt_folder(root, 1))
    record_epochs(second, 2, 3)
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


def test_the_run_of_mlflow_run_is_a_launcher_if_a_run_is_resumed(server, start, root, monkeypatch):
    first = start(settings(), "flowers", "x")
    record_epochs(first, 1)
    first.record(Ended(Status.KILLED, "why"))
    first.close()
    opened = open_run(server.store, monkeypatch)
    second = start(settings(), "flowers", "x", attempt_folder(root, 1))
    record_epochs(second, 2)
    second.record(Ended(Status.FINISHED))
    second.close()
    launcher = server.store.get_run(opened)
    assert second.run_id == first.run_id != opened
    assert (launcher.data.tags["flowerml.kind"], launcher.data.tags["flowerml.continues"]) == ("launcher", first.run_id)
    assert launcher.data.tags["mlflow.note.content"].count("\n") == 0
    assert launcher.data.metrics == {}
    assert launcher.info.status == "FINISHED"


def test_the_run_of_mlflow_run_is_adopted_when_the_server_is_back(server, start, root, monkeypatch):
    opened = open_run(server.store, monkeypatch)
    server.down()
    try:
        recorder = start(settings(), "ignored", "x")
        record_epochs(recorder, 1)
        recorder.record(Ended(Status.FINISHED))
        recorder.close()
    finally:
        server.up()
    monkeypatch.delenv("MLFLOW_RUN_ID")
    done = sync_folder(root)
    run = server.store.get_run(opened)
    assert (done.run_id, run.info.status, run.info.run_name) == (opened, "FINISHED", "x")
