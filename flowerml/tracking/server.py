"""MLflow's own server on loopback, for a store that has no pages of its own."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from mlflow.tracking import get_tracking_uri

from flowerml.errors import UserError, one_line
from flowerml.redaction import redact_secrets
from flowerml.tracking.client.connection import connect
from flowerml.tracking.client.failures import to_user_error
from flowerml.tracking.client.pages import experiments_page, has_pages, runs_page

HOST = "127.0.0.1"
_START_S = 120.0  # a busy machine needs tens of seconds to import MLflow's server
_STOP_S = 15.0
# What MLflow's server starts unasked, and what pages that only show runs do without.
_QUIET = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ENABLE_AI_GATEWAY": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def own_pages() -> str | None:
    """The address of the current tracking store's pages, None for a store without a server."""
    address = get_tracking_uri()
    return redact_secrets(address).rstrip("/") if has_pages(address) else None


def first_page(experiment: str | None) -> str:
    """The part of an address after the server's: the runs of `experiment`, or of the one changed last; else the list.

    Raises:
        UserError: the store can't be read, or has no such experiment.
    """
    try:
        client = connect()
        found = client.search_experiments(order_by=["last_update_time DESC"])
        used = [one for one in found if client.search_runs([one.experiment_id], max_results=1)]
    except Exception as error:  # MLflow, SQLAlchemy and requests each raise their own
        raise to_user_error(error) from error
    if experiment is None:
        return runs_page(str(used[0].experiment_id)) if used else experiments_page()
    for one in found:
        if one.name == experiment:
            return runs_page(str(one.experiment_id))
    names = ", ".join(one.name for one in found)
    raise UserError(
        f"--experiment {experiment}: {redact_secrets(get_tracking_uri())} has none of that name. It has {names}"
    )


@contextmanager
def local_server(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Context in which MLflow's server shows the current tracking store on loopback; it has answered when this yields.

    Raises:
        UserError: the port is taken, or the server does not start.
    """
    _check_port(port)
    with tempfile.TemporaryDirectory(prefix="flowerml-ui-") as folder:
        log = Path(folder) / "server.log"
        command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
        # The store by the environment: in the list of processes others would read its password.
        environment = {**_QUIET, **os.environ, "MLFLOW_BACKEND_STORE_URI": get_tracking_uri()}
        with log.open("wb") as out:  # a session of its own: a Ctrl-C is for flowerml, which then stops it
            process = subprocess.Popen(
                command, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            _wait_for_answer(process, port, log)
            yield process
        finally:
            _stop(process)


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UserError(
                f"--port {port}: {error.strerror or error}. Give another, or stop what listens there"
            ) from error


def _wait_for_answer(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            with urlopen(f"http://{HOST}:{port}/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    lines = [line for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    reason = one_line(redact_secrets(lines[-1]))[:200] if lines else "it printed nothing"
    raise UserError(f"MLflow's server did not start on port {port}: {reason}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
