"""Servers for the fault suite, and checks that a journal was delivered to one and cost the training no time."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
from mlflow.tracking import MlflowClient

from flowerml.events import Artifact, Metrics, Params
from flowerml.journal import Journal, JournalEntry, find_journals, read_delivered
from tests.conftest import ROOT

OF_THE_MOMENT = {"data_wait", "images_per_second", "peak_memory_mb", "train_tflops"}  # metrics that no two runs share


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ServerProcess:
    """`mlflow server` in a process group of its own: it can be stopped, continued, killed and restarted.

    `store` is the address of its database, by default an SQLite file in the folder.
    """

    def __init__(self, folder, store=None):
        self._folder, self._port = folder, free_port()
        self._store = store or f"sqlite:///{folder / 'own.db'}"
        self.address = f"http://127.0.0.1:{self._port}"
        self._client = MlflowClient(tracking_uri=self.address)
        self.up()

    def up(self):
        off = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_ENABLE_AI_GATEWAY": "false"}
        store = [
            "--backend-store-uri",
            self._store,
            "--artifacts-destination",
            str(self._folder / "own"),
        ]
        arguments = ["server", "--host", "127.0.0.1", "--port", str(self._port), "--workers", "1", *store]
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", *arguments],
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
    """A run's metric points, params, files by path and status."""
    run = client.get_run(run_id)
    points = [
        (name, p.step, p.timestamp, p.value)
        for name in run.data.metrics
        for p in client.get_metric_history(run_id, name)
    ]
    files = [
        file.path
        for entry in client.list_artifacts(run_id)
        for file in (client.list_artifacts(run_id, entry.path) if entry.is_dir else [entry])
    ]
    return sorted(points), dict(run.data.params), sorted(files), run.info.status


def assert_delivered(tally, client, folder):
    """The server has all records of the journal, none missing or doubled. Returns the run's id."""
    attempt = find_journals(folder)[-1]
    run_id = read_delivered(attempt).run_id
    records = [found.record for found in Journal(attempt).records(0) if isinstance(found, JournalEntry)]
    points, params, files, status = rows_of(client, run_id)
    expected = sorted(
        (name, r.step, r.timestamp, v) for r in records if isinstance(r, Metrics) for name, v in r.values.items()
    )
    tally.lost += len(set(expected) - set(points)) + max(0, len(points) - len(set(points)))
    assert points == expected
    assert params == {name: text for r in records if isinstance(r, Params) for name, text in r.values.items()}
    assert set(files) == {(Path(r.folder) / r.path.name).as_posix() for r in records if isinstance(r, Artifact)}
    assert status == "FINISHED"
    return run_id


def assert_not_held_up(log, outage_s=0):
    """The training's own thread asks the server nothing, and no event takes a noticeable part of a long outage; its end
    is blocked for less than 4 s, if the server was down then.
    """
    said = re.search(r"REQUESTS (\d+) OTHERS (\d+) LONGEST ([\d.]+) END ([\d.]+)", log)
    requests, others, longest, end = map(float, said.groups())
    assert requests == 0, f"the training waited for {requests:.0f} answers:\n{log}"
    assert others > 0, "the requests of the thread that delivers are counted too, or nothing is"
    assert longest < outage_s / 10 or outage_s < 20, f"held up for {longest} s:\n{log}"
    assert end < 4.0 or "flowerml sync" not in log, f"its end took {end} s:\n{log}"


def _environment():
    """The environment without the variables of the server in this process."""
    return {name: text for name, text in os.environ.items() if not name.startswith("_MLFLOW_SERVER_")}


def sync(store, *arguments):
    """Run `flowerml sync` with these arguments."""
    return subprocess.run(
        [sys.executable, "-m", "flowerml.cli.main", "sync", *arguments],
        cwd=ROOT,
        env={**_environment(), "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": store},
        capture_output=True,
        text=True,
    )


def all_runs(client):
    return client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
