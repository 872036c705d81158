"""`flowerml reap`, and the same in the background of a training: only runs whose process is gone are closed."""

import json
import multiprocessing
import os
import shutil
import signal
import threading

import pytest
from mlflow.tracking import MlflowClient

from flowerml.cli.main import run_command
from flowerml.cli.stale_runs import close_stale_runs_in_background
from flowerml.events import Ended, Metrics, Status, now_ms
from flowerml.journal import Delivered, Journal, read_delivered, write_delivered
from flowerml.runs.lifecycle.attempts import lease_owner
from flowerml.runs.lifecycle.lease import acquire
from flowerml.runs.lifecycle.run_file import RunFile, read_run_file, write_run_file
from flowerml.settings import resolve
from flowerml.tracking import start_run
from tests.tracking.faulty_server import wait_for


@pytest.fixture
def here(empty_store, tmp_path, monkeypatch):
    """A working folder with a store of its own."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path


def begin(root):
    """Claim a folder and begin a run there, as a training does. Returns the attempt and the recorder."""
    attempt = acquire(root, 60)
    settings, _ = resolve({"weights": "none", "classes": "a,b", "output_dir": str(root), "run_name": root.name})
    recorder = start_run(settings, "flowers", root.name, attempt.folder)
    write_run_file(root, RunFile(recorder.run_id, "c" * 64, 11, "RUNNING"))
    recorder.record(Metrics({"val_accuracy": 0.5}, 1))
    return attempt, recorder


def begin_and_die(root):
    _, recorder = begin(root)
    wait_for(lambda: MlflowClient().get_metric_history(recorder.run_id, "val_accuracy"))
    os.kill(os.getpid(), signal.SIGKILL)


def killed_in(root):
    """The folder `root` of a run whose process was killed by the system."""
    process = multiprocessing.get_context("fork").Process(target=begin_and_die, args=(root,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    return root


@pytest.fixture
def killed(here):
    """The folder of a run whose process was killed by the system."""
    return killed_in(here / "runs" / "killed")


@pytest.fixture
def alive(here):
    """The folder of a run of this process."""
    attempt, recorder = begin(here / "runs" / "alive")
    yield here / "runs" / "alive"
    recorder.abandon()
    attempt.release()


def reap(capsys, *words):
    code = run_command("reap", [*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def assert_closed(root, seen):
    run = MlflowClient().get_run(read_run_file(root).run_id)
    assert (read_run_file(root).status, run.info.status) == ("KILLED", "KILLED")
    assert run.data.tags["flowerml.reason"].startswith("its process ")
    assert run.data.tags["flowerml.reason"] in run.data.tags["mlflow.note.content"]
    assert run.info.end_time == int(1000 * seen), "its last sign of life, not the time it was found"


def test_a_dead_run_is_closed_here_and_at_mlflow_and_one_at_work_is_not(killed, alive, capsys):
    seen = max(lease_owner(killed).since, lease_owner(killed).seen)
    run_id = read_run_file(killed).run_id
    code, told = reap(capsys)
    assert code == 0
    (closed,) = told["closed"]
    assert (closed["folder"], closed["run_id"], closed["status"], told["left"]) == ("runs/killed", run_id, "KILLED", [])
    assert_closed(killed, seen)
    assert read_run_file(alive).status == "RUNNING"
    assert MlflowClient().get_run(read_run_file(alive).run_id).info.status == "RUNNING"
    assert reap(capsys) == (0, {"closed": [], "left": []})


def test_the_dead_run_of_a_fold_is_closed(here, capsys):
    """It lies one folder deeper: every run was said to have a living process."""
    root = killed_in(here / "runs" / "cv" / "fold1")
    code, told = reap(capsys)
    (closed,) = told["closed"]
    assert (code, closed["folder"], closed["status"], told["left"]) == (0, "runs/cv/fold1", "KILLED", [])
    assert MlflowClient().get_run(read_run_file(root).run_id).info.status == "KILLED"


def test_what_was_closed_still_goes_on_in_its_own_run(killed, capsys):
    run_id = read_run_file(killed).run_id
    reap(capsys)
    attempt = acquire(killed, 60)
    settings, _ = resolve({"weights": "none", "classes": "a,b", "output_dir": str(killed), "run_name": "killed"})
    recorder = start_run(settings, "flowers", "killed", attempt.folder, attempt.previous)
    recorder.record(Metrics({"val_accuracy": 0.6}, 2))
    recorder.record(Ended(Status.FINISHED))
    recorder.close()
    attempt.release()
    run = MlflowClient().get_run(run_id)
    assert (recorder.run_id, run.info.status) == (run_id, "FINISHED")
    assert "flowerml.reason" not in run.data.tags
    assert [point.step for point in MlflowClient().get_metric_history(run_id, "val_accuracy")] == [1, 2]


def test_a_run_that_came_as_far_as_its_end_keeps_that_end(here, capsys):
    """Killed between the last event and the last file."""
    attempt, recorder = begin(here / "runs" / "a")
    recorder.record(Ended(Status.FAILED, "the loss is nan"))
    recorder.close()
    attempt.release()
    code, told = reap(capsys)
    assert (code, told["closed"][0]["status"]) == (0, "FAILED")
    assert read_run_file(here / "runs" / "a").status == "FAILED"
    assert MlflowClient().get_run(recorder.run_id).info.status == "FAILED"
    assert sum(isinstance(one.record, Ended) for one in Journal(claimed(here / "runs" / "a")).records()) == 1


def claimed(root):
    return root / "attempts" / f"{lease_owner(root).token:04d}"


def test_a_server_that_is_away_gets_the_end_later(killed, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    write_delivered(claimed(killed), Delivered("http://127.0.0.1:9"))
    assert run_command("reap", []) == 2  # the folder is closed, then the server is asked for others
    assert read_run_file(killed).status == "KILLED"
    assert "events left: the MLflow tracking store http://127.0.0.1:9 does not answer" in capsys.readouterr().err
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert run_command("sync", ["--all"]) == 0


def test_a_run_of_another_store_is_closed_and_stays_there(killed, monkeypatch, capsys, tmp_path):
    """Its end is not told to whichever store is set just now, in a run of its own."""
    shutil.copy(tmp_path / "mlflow.db", tmp_path / "other.db")
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'other.db'}")
        before = len(MlflowClient().search_runs(["0", "1"]))
        assert run_command("reap", []) == 1
        assert "runs/killed: it is recorded at another store" in capsys.readouterr().err
        assert len(MlflowClient().search_runs(["0", "1"])) == before
    assert read_run_file(killed).status == "KILLED"
    assert reap(capsys) == (0, {"closed": [], "left": []})
    assert MlflowClient().get_run(read_run_file(killed).run_id).info.status == "KILLED"


def test_a_run_that_finished_while_the_server_was_away_is_delivered_and_not_taken_for_dead(here, capsys):
    attempt, recorder = begin(here / "runs" / "a")
    wait_for(lambda: MlflowClient().get_metric_history(recorder.run_id, "val_accuracy"))
    recorder.abandon()
    wait_for(lambda: not any(thread.name == "mlflow-sender" for thread in threading.enumerate()))
    Journal(attempt.folder).append(Ended(Status.FINISHED))
    write_run_file(here / "runs" / "a", RunFile(recorder.run_id, "c" * 64, 11, "FINISHED"))
    attempt.release()
    MlflowClient().set_tag(recorder.run_id, "flowerml.heartbeat", json.dumps({"host": "h", "pid": 1, "time": 0}))
    assert reap(capsys) == (0, {"closed": [], "left": []})
    run = MlflowClient().get_run(recorder.run_id)
    assert (run.info.status, "flowerml.reason" in run.data.tags) == ("FINISHED", False)


def test_a_folder_that_is_not_there_is_named(here, capsys):
    assert run_command("reap", ["--runs-root", "rusn"]) == 2
    assert "--runs-root rusn: no such folder" in capsys.readouterr().err
    assert reap(capsys) == (0, {"closed": [], "left": []})


def put(kind="train", status="RUNNING", silent_s=None, **tags):
    """A run at the store, whose last sign of life is `silent_s` seconds old (None: it never gave one)."""
    client = MlflowClient()
    sign = {"host": "elsewhere", "pid": 7, "time": now_ms() - int(1000 * (silent_s or 0))}
    heard = {} if silent_s is None else {"flowerml.heartbeat": json.dumps(sign)}
    said = {f"flowerml.{name}": text for name, text in {"kind": kind, **tags}.items()}
    where = client.create_experiment(f"of {len(client.search_experiments())}")
    run_id = client.create_run(where, tags={**heard, **said}).info.run_id
    if status != "RUNNING":
        client.set_terminated(run_id, status)
    return run_id


def test_runs_of_other_hosts_are_told_by_their_last_sign_of_life(here, capsys):
    """In all experiments. A run that never gave a sign is nobody's to close; a launcher ends as its run did."""
    dead, quiet = put(silent_s=10_800), put(silent_s=200)
    unknown, finished = put(), put(silent_s=400, status="FINISHED")
    launchers = [put("launcher", continues=one) for one in (dead, quiet, finished, "0" * 32)]
    code, told = reap(capsys)
    state = lambda run_id: MlflowClient().get_run(run_id).info.status  # noqa: E731
    assert code == 0
    assert [state(one) for one in (dead, quiet, unknown, finished)] == ["KILLED", "RUNNING", "RUNNING", "FINISHED"]
    assert [state(one) for one in launchers] == ["KILLED", "RUNNING", "FINISHED", "RUNNING"]
    assert {entry["run_id"] for entry in told["closed"]} == {dead, launchers[0], launchers[2]}
    reason = MlflowClient().get_run(dead).data.tags["flowerml.reason"]
    assert reason == "its process 7 on elsewhere is gone: last sign of life 3 h 00 min ago"
    assert reap(capsys, "--silent-minutes", "3")[1]["closed"][0]["run_id"] == quiet


def test_a_run_at_work_whose_signs_do_not_come_through_is_not_closed(alive, capsys):
    run_id = read_run_file(alive).run_id
    sign = json.dumps({"host": "here", "pid": 1, "time": 0})
    MlflowClient().set_tag(run_id, "flowerml.heartbeat", sign)
    assert reap(capsys)[1]["closed"] == []
    assert MlflowClient().get_run(run_id).info.status == "RUNNING"


def test_every_start_closes_and_delivers_what_others_have_left(killed, alive, here, monkeypatch):
    """Runs of this store only: what belongs to another one is left to who works with that."""
    shutil.copytree(killed, here / "runs" / "foreign")
    (state,) = (here / "runs" / "foreign").glob("attempts/*/delivered.json")
    state.write_text(json.dumps({"store": "http://elsewhere", "run_id": "r", "bytes": 0, "unclear": False}))
    seen = max(lease_owner(killed).since, lease_owner(killed).seen)
    close_stale_runs_in_background(here / "runs", alive)
    wait_for(lambda: MlflowClient().get_run(read_run_file(killed).run_id).info.status == "KILLED")
    assert_closed(killed, seen)
    assert read_run_file(alive).status == "RUNNING"
    assert read_run_file(here / "runs" / "foreign").status == "RUNNING"
    assert read_delivered(claimed(here / "runs" / "foreign")).bytes == 0
