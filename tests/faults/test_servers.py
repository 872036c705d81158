"""Faults 7, 8, 9, 16, and `mlflow run` of 6: a tracking server that is away, in every way; dead runs; a fresh store."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from mlflow.tracking import MlflowClient

from flowerml.cli.main import main
from flowerml.events import Artifact, Metrics, Params
from flowerml.journal import Entry, Journal, journals, read_delivered
from flowerml.runs.folder import read_run_file
from tests.conftest import ROOT
from tests.faults.nursery import RUN
from tests.faults.test_killed import assert_as_undisturbed
from tests.tracking.faulty_server import Server

AWAY = "7 server refused, stopped, 503, restarted"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("server")


@pytest.fixture
def server(folder):
    made = Server(folder)
    yield made
    made.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """`mlflow server` as people start it, in a process group of its own: it can be stopped, woken, ended and started again."""

    def __init__(self, folder):
        self._folder, self._port = folder, free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        self.store = MlflowClient(tracking_uri=self.address)
        self.up()

    def up(self):
        off = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_ENABLE_AI_GATEWAY": "false"}
        store = ["--backend-store-uri", f"sqlite:///{self._folder / 'own.db'}", "--artifacts-destination", str(self._folder / "own")]
        words = ["server", "--host", "127.0.0.1", "--port", str(self._port), "--workers", "1", *store]
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", *words], env={**os.environ, **off}, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + 120
        while True:
            try:
                self.store.search_experiments()
                return
            except Exception:
                assert time.monotonic() < end, (self._folder / "log").read_text()
                time.sleep(0.2)

    def _all(self, number):
        for process in [*psutil.Process(self._process.pid).children(recursive=True), psutil.Process(self._process.pid)]:
            process.send_signal(number)

    def stop(self):
        self._all(signal.SIGSTOP)

    def wake(self):
        self._all(signal.SIGCONT)

    def down(self):
        self._all(signal.SIGKILL)
        self._process.wait()


def rows_of(client, run_id):
    """What a run consists of: every point, params, names of files, status."""
    run = client.get_run(run_id)
    points = [(name, p.step, p.timestamp, p.value) for name in run.data.metrics for p in client.get_metric_history(run_id, name)]
    files = [file.path for file in client.list_artifacts(run_id)]
    return sorted(points), dict(run.data.params), sorted(files), run.info.status


def assert_delivered(tally, client, folder):
    """What the journal holds is at the server: nothing is missing, nothing there twice. Gives the run's id."""
    attempt = journals(folder)[-1]
    run_id = read_delivered(attempt).run_id
    records = [found.record for found in Journal(attempt).records(0) if isinstance(found, Entry)]
    points, params, files, status = rows_of(client, run_id)
    told = sorted((name, r.step, r.timestamp, v) for r in records if isinstance(r, Metrics) for name, v in r.values.items())
    tally.lost += len(set(told) - set(points)) + max(0, len(points) - len(set(points)))
    assert points == told
    assert params == {name: text for r in records if isinstance(r, Params) for name, text in r.values.items()}
    assert set(files) == {r.path.name for r in records if isinstance(r, Artifact)}
    assert status == "FINISHED"
    return run_id


def assert_not_held_up(log, end_s=3.0):
    """What the journal and its sender cost the training while the server is away, in seconds."""
    held, end = map(float, re.search(r"HELD UP ([\d.]+) END ([\d.]+)", log).groups())
    assert held < 1.0, log
    assert end < end_s, log


def through(tally, nursery, pictures, undisturbed, folder, server, begin, end, seconds, pause):
    """A run whose server is away for so long from its first epoch on; delivered by itself, or by `flowerml sync` where it ends before."""
    with tally.trial():
        child = nursery.start(pictures, folder, {"pause": pause}, store=server.address)
        while not (folder / "history.csv").exists():
            assert child.poll() is None, child.log()
            time.sleep(0.005)
        begin()
        if seconds:
            time.sleep(seconds)
        else:
            time.sleep(0.3)
        end()
        assert child.wait(200) == 0, child.log()
        assert_not_held_up(child.log())
        synced = subprocess.run(
            [sys.executable, "-m", "flowerml.cli.main", "sync", str(folder)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": server.address},
            capture_output=True,
            text=True,
        )
        assert synced.returncode == 0, synced.stderr
        assert_delivered(tally, server.store, folder)
        assert_as_undisturbed(folder, undisturbed)
        assert len([run for run in all_runs(server.store) if run.data.tags.get("mlflow.runName") == folder.name]) == 1
        return child.log()


def all_runs(client):
    return client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])


def faulty(server, name):
    """How a fault begins and ends."""
    if name == "refused":
        return server.down, server.up
    return (lambda: server.reset(lambda *_: name)), server.reset


@pytest.mark.fault(AWAY)
@pytest.mark.parametrize("name", ["refused", "503", "hang"])
def test_the_server_is_away_for_a_moment(tally, nursery, pictures, undisturbed, server, tmp_path, name):
    begin, end = faulty(server, name)

    def hang():
        begin()
        server.hold.clear()

    def go_on():
        server.hold.set()
        end()

    through(tally, nursery, pictures, undisturbed, tmp_path / name, server, hang if name == "hang" else begin, go_on, 0, 0.5)


@pytest.mark.slow
@pytest.mark.fault(AWAY)
def test_the_server_is_away_for_20_and_for_60_seconds(tally, nursery, pictures, undisturbed, folder, tmp_path):
    """Refused and 503, all at once: within the run, and beyond its end."""

    def one(name, seconds):
        server = Server(folder)
        try:
            begin, end = faulty(server, name)
            through(tally, nursery, pictures, undisturbed, tmp_path / f"{name}-{seconds}", server, begin, end, seconds, 12)
        finally:
            server.close()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(one, name, seconds) for name in ("refused", "503") for seconds in (20, 60)]:
            done.result()


@pytest.mark.slow
@pytest.mark.fault(AWAY)
def test_a_real_server_is_stopped_and_woken_and_killed_and_restarted(tally, nursery, pictures, undisturbed, tmp_path):
    server = Process(tmp_path)
    try:
        for number, (begin, end, seconds) in enumerate(
            [(server.stop, server.wake, 0), (server.stop, server.wake, 20), (server.stop, server.wake, 60), (server.down, server.up, 0)]
        ):
            through(tally, nursery, pictures, undisturbed, tmp_path / str(number), server, begin, end, seconds, 12 if seconds else 2)
    finally:
        server.down()


@pytest.mark.fault("8 server absent at the start")
def test_absent_at_the_start_and_synced_later(tally, nursery, pictures, undisturbed, server, tmp_path, capsys, monkeypatch):
    """The rows are those of a run that had it from the start, but for what a clock says."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    with tally.trial():
        had = nursery.start(pictures, tmp_path / "had", store=server.address, run_name="same")
        assert had.wait() == 0, had.log()
        server.down()
        absent = nursery.start(pictures, tmp_path / "absent", store=server.address, run_name="same")
        assert absent.wait() == 0, absent.log()
        assert_not_held_up(absent.log())
        assert "flowerml sync" in absent.log()
        server.up()
        assert main(["sync", "--all", "--runs-root", str(tmp_path)]) == 0
        assert main(["sync", str(tmp_path / "absent")]) == 0, "a second time adds nothing"
        assert "everything is at run" in capsys.readouterr().err
        ids = [assert_delivered(tally, server.store, tmp_path / name) for name in ("had", "absent")]
        (points, params, files, _), (later, others, rest, _) = (rows_of(server.store, run_id) for run_id in ids)
        untimed = [[(name, step, value) for name, step, _, value in rows if name != "images_per_second"] for rows in (points, later)]
        assert untimed[0] == untimed[1]
        assert params == {**others, "output_dir": params["output_dir"]}
        assert files == rest
        assert_as_undisturbed(tmp_path / "absent", undisturbed)


@pytest.mark.fault("9 a dead run that says RUNNING")
def test_a_dead_run_is_recognised_and_closed_and_still_goes_on(tally, nursery, pictures, undisturbed, tmp_path, monkeypatch, empty_store):
    store = os.environ["MLFLOW_TRACKING_URI"]
    folder = tmp_path / "runs" / "out"
    with tally.trial():
        child = nursery.start(pictures, folder, {"kill_after_step": 25}, store=store)
        assert child.wait() == -signal.SIGKILL, child.log()
        assert read_run_file(folder).status == "RUNNING"
        assert main(["reap", "--runs-root", str(folder.parent)]) == 0
        assert read_run_file(folder).status == "KILLED"
        (run,) = all_runs(MlflowClient())
        assert run.info.status == "KILLED"
        assert f"process {child.pid}" in run.data.tags["flowerml.reason"]
        assert main(["reap", "--runs-root", str(folder.parent)]) == 0, "nothing is left to close"
        again = nursery.start(pictures, folder, store=store)
        assert again.wait() == 0, again.log()
        assert_as_undisturbed(folder, undisturbed)
        (run,) = all_runs(MlflowClient())
        assert run.info.status == "FINISHED", "the same run went on"
        assert_delivered(tally, MlflowClient(), folder)


@pytest.mark.fault("1 kill -9 at a random step")
def test_killed_runs_go_on_in_their_mlflow_run_without_doubled_points(tally, nursery, pictures, undisturbed, tmp_path):
    store, folder = os.environ["MLFLOW_TRACKING_URI"], tmp_path / "out"
    with tally.trial():
        for step in (8, 9, 4):  # counted from where each try begins
            child = nursery.start(pictures, folder, {"kill_after_step": step}, store=store)
            assert child.wait() == -signal.SIGKILL, child.log()
        again = nursery.start(pictures, folder, store=store)
        assert again.wait() == 0, again.log()
        assert_as_undisturbed(folder, undisturbed)
        assert_delivered(tally, MlflowClient(), folder)
        (run,) = all_runs(MlflowClient())
        history = MlflowClient().get_metric_history(run.info.run_id, "train_loss")
        assert [point.step for point in history] == [1, 2, 3]


EIGHT = "import sys, mlflow.tracking; from flowerml.tracking.store import connected; connected().search_experiments()"


def eight_on_a_fresh_store(tally, folder, trials):
    for trial in range(trials):
        store = f"sqlite:///{folder / f'{trial}.db'}"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": store}
        with tally.trial():
            processes = [subprocess.Popen([sys.executable, "-c", EIGHT], env=environment, stderr=subprocess.PIPE) for _ in range(8)]
            errors = [process.communicate()[1] for process in processes]
            assert [process.returncode for process in processes] == [0] * 8, errors


@pytest.mark.slow
@pytest.mark.fault("16 eight processes on a fresh store")
def test_eight_runs_on_a_fresh_store_at_once(tally, nursery, pictures, tmp_path):
    """As forks, which begin in the same instant, twenty times: each writes its own run."""
    for trial in range(20):
        store = f"sqlite:///{tmp_path / f'{trial}.db'}"
        with tally.trial():
            changes = {"epochs": 1, "warmup_epochs": 0, "img_size": 32, "checkpoint_every_steps": 0, "stop_epoch": 1}
            children = [
                nursery.start(pictures, tmp_path / f"{trial}-{n}", store=store, seed=n, **changes) for n in range(2 if trial else 8)
            ]
            assert [child.wait(300) for child in children] == [0] * len(children), [child.log() for child in children]
            runs = all_runs(MlflowClient(tracking_uri=store))
            assert [run.info.status for run in runs] == ["FINISHED"] * len(children)


@pytest.mark.fault("16 eight processes on a fresh store")
def test_eight_processes_meet_on_a_fresh_store(tally, tmp_path):
    eight_on_a_fresh_store(tally, tmp_path, 1)


@pytest.mark.slow
@pytest.mark.fault("10 ten processes claim one run")
def test_ten_claim_twenty_times(tally, tmp_path):
    from tests.runs.test_claim import ten_claim

    for trial in range(20):
        with tally.trial():
            ten_claim(tmp_path / str(trial))


@pytest.mark.fault("10 ten processes claim one run")
def test_ten_runs_on_one_folder_train_once(tally, nursery, pictures, undisturbed, tmp_path):
    folder = tmp_path / "out"
    with tally.trial():
        children = [nursery.start(pictures, folder) for _ in range(10)]
        codes = [child.wait(300) for child in children]
        assert sorted(codes) == [0] + [2] * 9, [child.log() for child in children]
        told = [child.log() for child, code in zip(children, codes, strict=True) if code == 2]
        assert all("is being worked on by process" in log or "holds the finished run" in log for log in told)
        assert_as_undisturbed(folder, undisturbed)


@pytest.mark.slow
@pytest.mark.fault("6 SIGTERM, SIGINT, twice, to mlflow run")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_mlflow_run(tally, nursery, pictures, undisturbed, tmp_path, number):
    """The launcher dies of SIGTERM and tells nobody; the training notices, keeps its state and ends KILLED in the run opened for it."""
    folder = tmp_path / "out"
    given = {**RUN, "train_dir": pictures, "output_dir": folder, "lease_seconds": 3, "epochs": 3, "checkpoint_every_steps": 3}
    words = [word for name, value in given.items() for word in ("-P", f"{name}={str(value).lower() if isinstance(value, bool) else value}")]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with tally.trial(), (tmp_path / "log").open("w") as log:
        launcher = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "run", str(ROOT), "-e", "train", "--env-manager=local", *words],
            stdout=log,
            stderr=log,
            env={**os.environ, "PATH": path},
            start_new_session=True,
        )
        end = time.monotonic() + 120
        while not list(folder.glob("state/epochs-*")):
            assert launcher.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.005)
        launcher.send_signal(number) if number == signal.SIGTERM else os.killpg(launcher.pid, number)
        launcher.wait(60)
        end = time.monotonic() + 60
        while read_run_file(folder).status == "RUNNING":
            assert time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.05)
        assert read_run_file(folder).status == "KILLED", (tmp_path / "log").read_text()
        time.sleep(3)
        (run,) = all_runs(MlflowClient())
        assert run.info.status == "KILLED", (tmp_path / "log").read_text()
        again = nursery.start(pictures, folder, store=os.environ["MLFLOW_TRACKING_URI"])
        assert again.wait() == 0, again.log()
        assert_as_undisturbed(folder, undisturbed)
        (run,) = all_runs(MlflowClient())
        assert run.info.status == "FINISHED"
