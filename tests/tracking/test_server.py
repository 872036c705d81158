"""The tracking server of docker/compose.yaml, started here with the very same command, on a real Postgres."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pytest
import yaml
from mlflow.tracking import MlflowClient

from flowerml.events import Artifact, Ended, Metrics, Params, Status
from flowerml.settings import resolve
from flowerml.tracking import start_run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SERVICE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]["mlflow"]
STORE = "postgresql+psycopg2://mlflow@postgres:5432/mlflow"
PASSWORD = "p@ss:w/rd%2F"  # no character of it may matter
SECONDS = 120


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stat(pid):
    """(parent's id, start time) of a process, by which its id is told from a later one's; None where it is gone or only
    waited for.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if fields[0] in "ZX" else (int(fields[1]), fields[19])


def tree(pid):
    """{process id: start time} of a process and all that came from it."""
    known = {int(entry.name): stat(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    found = {pid}
    while more := {child for child, about in known.items() if about and about[0] in found} - found:
        found |= more
    return {child: known[child][1] for child in found if known.get(child)}


def alive(processes):
    """Those of `processes` that still run."""
    return [pid for pid, started in processes.items() if (stat(pid) or (0, None))[1] == started]


def words(pid):
    return [word for word in Path(f"/proc/{pid}/cmdline").read_text().split("\0") if word]


def wait_until(ready, process, log):
    """Ask `ready` until it says yes. Fails, with what the process said, when that ends first or SECONDS are over."""
    end = time.monotonic() + SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > end:
            pytest.fail(f"{process.args[0]} did not come up (exit code {process.poll()}):\n{log.read_text()[-3000:]}")
        time.sleep(0.2)


@contextmanager
def running(command, ready, log, stop, **options):
    """A process that is up, with the processes it had then. Stopped by its own id at the end, and nothing of it is
    left.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **options)
    processes = {}
    try:
        wait_until(ready, process, log)
        processes = tree(process.pid)
        yield processes
    finally:
        processes |= tree(process.pid)
        process.send_signal(stop)
        try:
            process.wait(60)
        finally:
            left = alive(processes)
            for pid in left:
                os.kill(pid, signal.SIGKILL)
    assert left == [], log.read_text()[-3000:]


@pytest.fixture(scope="module")
def postgres():
    """A Postgres of its own on a free port of loopback, with an empty database `mlflow`. Postgres refuses to run as
    root.
    """
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = str(programs[-1]) if programs else shutil.which("initdb")
    if found is None:
        pytest.skip("no Postgres on this machine (Debian: apt-get install postgresql)")
    owner = {}
    if os.geteuid() == 0:
        try:
            account = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("Postgres does not run as root, and there is no user `postgres`")
        owner = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    folder = Path(tempfile.mkdtemp(prefix="containers-postgres-"))
    if owner:
        os.chown(folder, owner["user"], owner["group"])
    try:
        yield from cluster(Path(found).parent, folder, owner)
    finally:
        shutil.rmtree(folder)


def cluster(programs, folder, owner):
    """Make, start and stop the database in `folder`; gives its port."""
    secret, data, port, log = folder / "secret", folder / "data", free_port(), folder / "log"
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o644)  # read by the other user, once
    calls = {"cwd": folder, "check": True, "capture_output": True, "timeout": SECONDS, **owner}
    options = ["--username=mlflow", "--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--no-sync"]
    subprocess.run([programs / "initdb", f"--pgdata={data}", *options], **calls)
    where = ["--host=127.0.0.1", f"--port={port}"]
    ask = [programs / "pg_isready", *where, "--username=mlflow", "--dbname=mlflow"]
    command = [
        programs / "postgres",
        "-D",
        data,
        "-k",
        folder,
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        f"port={port}",
        "-c",
        "fsync=off",
    ]
    ready = lambda: subprocess.run(ask, capture_output=True, timeout=SECONDS).returncode == 0  # noqa: E731
    with running([str(word) for word in command], ready, log, signal.SIGINT, cwd=folder, **owner):
        known = {"env": {**os.environ, "PGPASSWORD": PASSWORD}}
        subprocess.run([programs / "createdb", *where, "--username=mlflow", "mlflow"], **calls, **known)
        yield port


def command_here(port, store_port, artifacts):
    """compose.yaml's command with this machine's address, ports and folder in it, and nothing else changed."""
    changes = {
        "--host=0.0.0.0": "--host=127.0.0.1",
        "--port=5000": f"--port={port}",
        f"--backend-store-uri={STORE}": f"--backend-store-uri=postgresql+psycopg2://mlflow@127.0.0.1:{store_port}/mlflow",
        "--artifacts-destination=/mlflow/artifacts": f"--artifacts-destination={artifacts}",
    }
    assert set(changes) <= set(SERVICE["command"])
    return [str(Path(sys.executable).parent / "mlflow"), *(changes.get(word, word) for word in SERVICE["command"])]


def answer(port, path, host=None, method="GET"):
    """Status and body of one request, under the `Host:` a client would send."""
    headers = {"Host": host or f"127.0.0.1:{port}", "Content-Type": "application/json"}
    body = b"{}" if method == "POST" else None
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except OSError:
        return None, b""


@pytest.fixture(scope="module")
def server(postgres, tmp_path_factory):
    """(port, its processes, folder of artifacts) of the running server."""
    folder = tmp_path_factory.mktemp("server")
    port, artifacts = free_port(), folder / "artifacts"
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("MLFLOW_", "PG"))}
    environment |= SERVICE["environment"] | {"PGPASSWORD": PASSWORD}
    ready = lambda: answer(port, "/health") == (200, b"OK")  # noqa: E731
    command = command_here(port, postgres, artifacts)
    with running(command, ready, folder / "log", signal.SIGTERM, cwd=folder, env=environment) as processes:
        yield port, processes, artifacts


def workers(processes):
    """The processes that answer requests: those that hold the listening socket and run the application."""
    return [pid for pid in processes if any("spawn_main" in word for word in words(pid))]


@pytest.mark.parametrize(
    ("host", "status"), [("mlflow:5000", 200), ("localhost:5055", 200), ("evil.example", 403), ("mlflow:5001", 403)]
)
def test_only_listed_hosts_are_answered(server, host, status):
    """What containers and this machine's browser send, and what a page elsewhere would make a browser send."""
    port, _, _ = server
    assert answer(port, "/api/2.0/mlflow/experiments/get?experiment_id=0", host)[0] == status


def test_a_run_comes_back_through_http(server, tmp_path, monkeypatch):
    """Params, curve and file, written by our recorder; the file lies where the server's volume is."""
    port, _, artifacts = server
    mlflow.set_tracking_uri(f"http://127.0.0.1:{port}")
    try:
        asked = {
            "model": "convnextv2_atto",
            "weights": "none",
            "epochs": 10,
            "output_dir": "runs/x",
            "run_name": "x",
            "classes": "a,b",
        }
        attempt = tmp_path / "out" / "attempts" / "0001"
        attempt.mkdir(parents=True)
        recorder = start_run(resolve(asked)[0], "flowers", "x", attempt)
        history = tmp_path / "history.csv"
        history.write_text("epoch,val_accuracy\n1,0.5\n2,0.75\n")
        recorder.record(Params({"lr_head": "0.0001"}))
        for epoch, value in ((1, 0.5), (2, 0.75)):
            recorder.record(Metrics({"val_accuracy": value}, step=epoch, timestamp=1000 * epoch))
        recorder.record(Artifact(history))
        recorder.record(Ended(Status.FINISHED))
        recorder.close()
        client = MlflowClient()
        run = client.get_run(recorder.run_id)
        assert (run.info.status, run.data.params) == ("FINISHED", {"lr_head": "0.0001"})
        points = client.get_metric_history(recorder.run_id, "val_accuracy")
        assert [(point.step, point.value, point.timestamp) for point in points] == [(1, 0.5, 1000), (2, 0.75, 2000)]
        back = client.download_artifacts(recorder.run_id, "history.csv", str(tmp_path))
        assert Path(back).read_bytes() == history.read_bytes()
        assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
        assert [path.name for path in artifacts.rglob("*.csv")] == ["history.csv"]
    finally:
        mlflow.set_tracking_uri(None)


def test_every_worker_runs_on_uvloop(server):
    """Its machine code is mapped into the workers, and the server was told to end rather than go without."""
    _, processes, _ = server
    assert "--uvicorn-opts=--loop uvloop" in SERVICE["command"]
    mapped = {pid: "/uvloop/loop." in Path(f"/proc/{pid}/maps").read_text() for pid in workers(processes)}
    assert list(mapped.values()) == [True, True]


def test_nothing_runs_that_nobody_asked_for(server):
    """`mlflow server`, uvicorn, two workers and Python's own helper of the three: no runner of jobs, no queue, no
    gateway.
    """
    port, processes, _ = server
    lines = {pid: " ".join(words(pid)) for pid in processes}
    helpers = [pid for pid, line in lines.items() if "multiprocessing.resource_tracker" in line]
    assert len(processes) - len(helpers) == 4, lines
    assert [line for line in lines.values() if "huey" in line or "jobs" in line] == []
    assert answer(port, "/gateway/mlflow/v1/chat/completions", method="POST")[0] == 501
    told = {pid: Path(f"/proc/{pid}/environ").read_text().split("\0") for pid in processes}
    assert [pid for pid, names in told.items() if "MLFLOW_DISABLE_TELEMETRY=true" not in names] == []


def test_the_password_is_in_no_command_line(server):
    _, processes, _ = server
    assert [pid for pid in processes if PASSWORD in " ".join(words(pid))] == []
