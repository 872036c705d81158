"""Start the tracking server of docker/compose.yaml with the same command and environment, on a real Postgres."""

import base64
import os
import pwd
import re
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

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


SERVICE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]["mlflow"]


ADMIN_PASSWORD = "a word and # 100% more"


STORE = "postgresql+psycopg2://mlflow@postgres:5432/mlflow"


PASSWORD = "p@ss:w/rd%2F"  # no character of it may matter


SECONDS = 120


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stat(pid):
    """(parent id, start time) of a process; None if it is gone or a zombie. The start time detects a reused id."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if fields[0] in "ZX" else (int(fields[1]), fields[19])


def tree(pid):
    """{process id: start time} of a process and its descendants."""
    known = {int(entry.name): stat(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    found = {pid}
    while more := {child for child, about in known.items() if about and about[0] in found} - found:
        found |= more
    return {child: known[child][1] for child in found if known.get(child)}


def alive(processes):
    """Those of `processes` that are still running."""
    return [pid for pid, started in processes.items() if (stat(pid) or (0, None))[1] == started]


def command_line(pid):
    return [word for word in Path(f"/proc/{pid}/cmdline").read_text().split("\0") if word]


def wait_until(ready, process, log):
    """Wait until `ready()`. Fails with the log if the process ends first or after SECONDS."""
    end = time.monotonic() + SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > end:
            pytest.fail(f"{process.args[0]} did not come up (exit code {process.poll()}):\n{log.read_text()[-3000:]}")
        time.sleep(0.2)


@contextmanager
def running(command, ready, log, stop, **options):
    """Run a process; yields its process tree. Asserts at the end that stopping it leaves no process behind."""
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
    """A new Postgres on a free loopback port, with an empty database `mlflow`; it refuses to run as root."""
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
    """Create, start and stop the database in `folder`; yields its port."""
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


def interpolated(text):
    """`${NAME:-default}` as Compose makes it with no variable set; test_compose.py compares it with the real one."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def command_here(port, store_port, artifacts):
    """The image's entry point and the command of compose.yaml, with only addresses, ports and folder replaced."""
    changes = {
        "--host=0.0.0.0": "--host=127.0.0.1",
        "--port=5000": f"--port={port}",
        f"--backend-store-uri={STORE}": f"--backend-store-uri=postgresql+psycopg2://mlflow@127.0.0.1:{store_port}/mlflow",
        "--artifacts-destination=/mlflow/artifacts": f"--artifacts-destination={artifacts}",
    }
    words = [interpolated(word) for word in SERVICE["command"]]
    assert set(changes) <= set(words)
    start = [str(ROOT / "docker" / "with-secrets"), str(Path(sys.executable).parent / "mlflow")]
    return [*start, *(changes.get(word, word) for word in words)]


def environment_here(folder, store_port):
    """The environment of compose.yaml, with its secrets and its file of the log-in in `folder`."""
    variables = {name: text for name, text in SERVICE["environment"].items() if text is not None}
    for name, text in {
        "postgres_password": PASSWORD,
        "admin_password": ADMIN_PASSWORD,
        "session_key": "0123456789abcdef" * 4,
    }.items():
        assert name in SERVICE["secrets"]
        (folder / name).write_text(f"{text}\n")
    login, here = (ROOT / "docker" / "auth.ini").read_text(), f"mlflow@127.0.0.1:{store_port}/mlflow"
    assert "mlflow@postgres:5432/mlflow" in login
    (folder / "auth.ini").write_text(login.replace("mlflow@postgres:5432/mlflow", here))
    assert variables["MLFLOW_AUTH_CONFIG_PATH"] == "/etc/mlflow/auth.ini"
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("MLFLOW_", "PG"))}
    changed = {name: text.replace("/run/secrets/", f"{folder}/") for name, text in variables.items()}
    return {**kept, **changed, "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini")}


def authorization(user="admin", password=ADMIN_PASSWORD):
    """The header of a log-in."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def answer(port, path, host=None, method="GET", login=authorization()):  # noqa: B008 - it changes nothing
    """Status and body of one request with this `Host:` header and this log-in."""
    headers = {"Host": host or f"127.0.0.1:{port}", "Content-Type": "application/json", **login}
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
def compose_server(postgres, tmp_path_factory):
    """(port, processes, artifact folder) of the running server."""
    folder = tmp_path_factory.mktemp("server")
    port, artifacts = free_port(), folder / "artifacts"
    environment = environment_here(folder, postgres)
    ready = lambda: answer(port, "/health") == (200, b"OK")  # noqa: E731
    command = command_here(port, postgres, artifacts)
    with running(command, ready, folder / "log", signal.SIGTERM, cwd=folder, env=environment) as processes:
        yield port, processes, artifacts
