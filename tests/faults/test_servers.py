"""Faults 7, 8, 10, 16: a tracking server that is away, in every way; many processes on one run, or on a fresh store."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
from mlflow.tracking import MlflowClient

from flowerml.events import Artifact, Metrics, Params
from flowerml.journal import Entry, Journal, journals, read_delivered
from tests.conftest import ROOT
from tests.faults.test_killed import assert_as_undisturbed
from tests.tracking.faulty_server import Server

AWAY = "7 server refused, stopped, 503, restarted"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def one_server(folder):
    made = Server(folder)
    yield made
    made.close()


@pytest.fixture
def server(one_server, monkeypatch):
    """The server, as if nothing had happened to it. It reads where its files lie from the environment of this process."""
    for name, text in one_server.environment.items():
        monkeypatch.setenv(name, text)
    one_server.reset()
    return one_server


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """`mlflow server` as people start it, in a process group of its own: it can be stopped, woken, ended and started
    again.
    """

    def __init__(self, folder):
        self._folder, self._port = folder, free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        self._client = MlflowClient(tracking_uri=self.address)
        self.up()

    def up(self):
        off = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_ENABLE_AI_GATEWAY": "false"}
        store = [
            "--backend-store-uri",
            f"sqlite:///{self._folder / 'own.db'}",
            "--artifacts-destination",
            str(self._folder / "own"),
        ]
        words = ["server", "--host", "127.0.0.1", "--port", str(self._port), "--workers", "1", *store]
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", *words],
                env={**os.environ, **off},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + 120
        while True:
            try:
                self._client.search_experiments()
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
    points = [
        (name, p.step, p.timestamp, p.value)
        for name in run.data.metrics
        for p in client.get_metric_history(run_id, name)
    ]
    files = [file.path for file in client.list_artifacts(run_id)]
    return sorted(points), dict(run.data.params), sorted(files), run.info.status


def assert_delivered(tally, client, folder):
    """What the journal holds is at the server: nothing is missing, nothing there twice. Gives the run's id."""
    attempt = journals(folder)[-1]
    run_id = read_delivered(attempt).run_id
    records = [found.record for found in Journal(attempt).records(0) if isinstance(found, Entry)]
    points, params, files, status = rows_of(client, run_id)
    told = sorted(
        (name, r.step, r.timestamp, v) for r in records if isinstance(r, Metrics) for name, v in r.values.items()
    )
    tally.lost += len(set(told) - set(points)) + max(0, len(points) - len(set(points)))
    assert points == told
    assert params == {name: text for r in records if isinstance(r, Params) for name, text in r.values.items()}
    assert set(files) == {r.path.name for r in records if isinstance(r, Artifact)}
    assert status == "FINISHED"
    return run_id


def assert_not_held_up(log):
    """What the journal and its sender cost the training, in seconds; and its end, where the server is still away then
    (delivering the rest to one that is there takes what it takes).
    """
    held, end = map(float, re.search(r"HELD UP ([\d.]+) END ([\d.]+)", log).groups())
    assert held < 1.0, f"held up for {held} s:\n{log}"
    assert end < 4.0 or "flowerml sync" not in log, f"its end took {end} s:\n{log}"


def through(tally, nursery, pictures, undisturbed, folder, server, begin, end, seconds, pause):
    """A run whose server is away for so long from its first epoch on; delivered by itself, or by `flowerml sync` where
    it ends before.
    """
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
        synced = sync(server.address, str(folder))
        assert synced.returncode == 0, synced.stderr
        assert_delivered(tally, MlflowClient(tracking_uri=server.address), folder)
        assert_as_undisturbed(folder, undisturbed)
        assert (
            len(
                [
                    run
                    for run in all_runs(MlflowClient(tracking_uri=server.address))
                    if run.data.tags.get("mlflow.runName") == folder.name
                ]
            )
            == 1
        )
        return child.log()


def _outside():
    """The environment without what the server in this process has for itself."""
    return {name: text for name, text in os.environ.items() if not name.startswith("_MLFLOW_SERVER_")}


def sync(store, *words):
    """`flowerml sync …` as a person types it."""
    return subprocess.run(
        [sys.executable, "-m", "flowerml.cli.main", "sync", *words],
        cwd=ROOT,
        env={**_outside(), "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": store},
        capture_output=True,
        text=True,
    )


def all_runs(client):
    return client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])


def faulty(server, name):
    """How a fault begins and ends."""
    if name == "refused":
        return server.down, server.up
    return (lambda: server.reset(lambda *_: name)), server.reset


@pytest.mark.fault(AWAY)
@pytest.mark.parametrize("name", ["refused", *(pytest.param(name, marks=pytest.mark.slow) for name in ("503", "hang"))])
def test_the_server_is_away_for_a_moment(tally, nursery, pictures, undisturbed, server, tmp_path, name):
    begin, end = faulty(server, name)

    def hang():
        begin()
        server.hold.clear()

    def go_on():
        server.hold.set()
        end()

    through(
        tally, nursery, pictures, undisturbed, tmp_path / name, server, hang if name == "hang" else begin, go_on, 0, 0.5
    )


@pytest.mark.slow
@pytest.mark.fault(AWAY)
@pytest.mark.parametrize("seconds", [20, 60])
@pytest.mark.parametrize("name", ["refused", "503"])
def test_the_server_is_away_for_20_and_for_60_seconds(
    tally, nursery, pictures, undisturbed, server, tmp_path, name, seconds
):
    """Within the run, and beyond its end."""
    begin, end = faulty(server, name)
    through(tally, nursery, pictures, undisturbed, tmp_path / f"{name}-{seconds}", server, begin, end, seconds, 12)


@pytest.mark.slow
@pytest.mark.fault(AWAY)
def test_a_real_server_is_stopped_and_woken_and_killed_and_restarted(tally, nursery, pictures, undisturbed, tmp_path):
    server = Process(tmp_path)
    try:
        for number, (begin, end, seconds) in enumerate(
            [
                (server.stop, server.wake, 0),
                (server.stop, server.wake, 20),
                (server.stop, server.wake, 60),
                (server.down, server.up, 0),
            ]
        ):
            through(
                tally,
                nursery,
                pictures,
                undisturbed,
                tmp_path / str(number),
                server,
                begin,
                end,
                seconds,
                12 if seconds else 2,
            )
    finally:
        server.down()


@pytest.mark.slow
@pytest.mark.fault("8 server absent at the start")
def test_absent_at_the_start_and_synced_later(tally, nursery, pictures, undisturbed, server, tmp_path):
    """The rows are those of a run that had it from the start, but for what a clock says."""
    with tally.trial():
        had = nursery.start(pictures, tmp_path / "had", store=server.address, run_name="same")
        assert had.wait() == 0, had.log()
        server.down()
        absent = nursery.start(pictures, tmp_path / "absent", store=server.address, run_name="same")
        assert absent.wait() == 0, absent.log()
        assert_not_held_up(absent.log())
        assert "flowerml sync" in absent.log()
        server.up()
        assert sync(server.address, "--all", "--runs-root", str(tmp_path)).returncode == 0
        again = sync(server.address, str(tmp_path / "absent"))
        assert again.returncode == 0
        assert "everything is at run" in again.stderr, "a second time adds nothing"
        ids = [
            assert_delivered(tally, MlflowClient(tracking_uri=server.address), tmp_path / name)
            for name in ("had", "absent")
        ]
        (points, params, files, _), (later, others, rest, _) = (
            rows_of(MlflowClient(tracking_uri=server.address), run_id) for run_id in ids
        )
        untimed = [
            [(name, step, value) for name, step, _, value in rows if name != "images_per_second"]
            for rows in (points, later)
        ]
        assert untimed[0] == untimed[1]
        assert params == {**others, "output_dir": params["output_dir"]}
        assert files == rest
        assert_as_undisturbed(tmp_path / "absent", undisturbed)


def eight_on_a_fresh_store(tally, nursery, folder, trials):
    for trial in trials:
        store = f"sqlite:///{folder / f'{trial}.db'}"
        with tally.trial():
            children = [nursery.meet(store) for _ in range(8)]
            assert [child.wait(300) for child in children] == [0] * 8, [child.log() for child in children]


@pytest.mark.fault("16 eight processes on a fresh store")
def test_eight_processes_meet_on_a_fresh_store(tally, nursery, tmp_path):
    eight_on_a_fresh_store(tally, nursery, tmp_path, range(1))


@pytest.mark.slow
@pytest.mark.fault("16 eight processes on a fresh store")
def test_eight_processes_meet_on_a_fresh_store_nineteen_times_more(tally, nursery, tmp_path):
    eight_on_a_fresh_store(tally, nursery, tmp_path, range(1, 20))


@pytest.mark.slow
@pytest.mark.fault("16 eight processes on a fresh store")
def test_eight_runs_on_a_fresh_store_at_once(tally, nursery, pictures, tmp_path):
    """Each writes its own run."""
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with tally.trial():
        changes = {"epochs": 1, "warmup_epochs": 0, "checkpoint_every_steps": 0}
        children = [
            nursery.start(pictures, tmp_path / str(seed), store=store, seed=seed, **changes) for seed in range(8)
        ]
        assert [child.wait(300) for child in children] == [0] * 8, [child.log() for child in children]
        runs = all_runs(MlflowClient(tracking_uri=store))
        assert [run.info.status for run in runs] == ["FINISHED"] * 8


@pytest.mark.slow
@pytest.mark.fault("10 ten processes claim one run")
def test_ten_claim_twenty_times(tally, tmp_path):
    from tests.runs.lifecycle.lease_processes import ten_claim

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
