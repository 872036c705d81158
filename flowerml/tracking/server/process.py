"""The process of MLflow's server: started, waited for, and stopped with all its workers."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from flowerml.errors import UserError, one_line
from flowerml.redaction import redact_secrets

LOOPBACK = "127.0.0.1"
_EVERYWHERE = ("0.0.0.0", "::")  # given by the user, refused without log-in # nosec B104
_START_S = 120.0  # a busy machine needs tens of seconds to import MLflow's server
_STOP_S = 15.0
# What MLflow's server starts unasked: eight processes that run jobs, a gateway to other companies' models, reports.
_QUIET = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ENABLE_AI_GATEWAY": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@dataclass(frozen=True)
class ServerOptions:
    """What the server is started with: the store's address, where it listens, and options of `mlflow server`.

    `environment` has what others on the machine must not read in the list of processes.
    """

    store: str
    port: int
    host: str = LOOPBACK
    workers: int = 1
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """The address for a browser or a client on this machine."""
        host = LOOPBACK if self.host in _EVERYWHERE else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


@contextmanager
def running_server(server: ServerOptions, *, show_log: bool) -> Iterator[subprocess.Popen[bytes]]:
    """Context in which the server runs; it has answered when this yields. `show_log`: its log goes to the terminal.

    Raises:
        UserError: the address is taken, or the server does not start.
    """
    _check_address(server)
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", server.host, "--port", str(server.port)),
        *("--workers", str(server.workers), *server.options),
    ]
    environment = {**_QUIET, **os.environ, **server.environment, "MLFLOW_BACKEND_STORE_URI": server.store}
    with tempfile.TemporaryDirectory(prefix="flowerml-server-") as folder:
        log = Path(folder) / "server.log"
        with log.open("wb") as out:  # a session of its own: a Ctrl-C is for flowerml, which then stops it
            process = subprocess.Popen(
                command,
                env=environment,
                stdout=None if show_log else out,
                stderr=None if show_log else subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            _wait_for_answer(process, server, log)
            yield process
        finally:
            _stop(process)


def _check_address(server: ServerOptions) -> None:
    where = f"--port {server.port} on {server.host}"
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except UnicodeError as error:  # of a host's name, which a resolver takes in IDNA
        raise UserError(f"{where}: this can't be a host's name. Give another --host") from error
    except OSError as error:
        raise UserError(f"{where}: {error.strerror or error}. Give another, or stop what listens there") from error


def _wait_for_answer(process: subprocess.Popen[bytes], server: ServerOptions, log: Path) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            with urlopen(f"{server.address}/health", timeout=5):  # http, on this machine # nosec B310
                return
        except (URLError, OSError):
            time.sleep(0.2)
    lines = [line for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    reason = one_line(redact_secrets(lines[-1]))[:200] if lines else "see its log"
    raise UserError(f"MLflow's server did not start on port {server.port}: {reason}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with its workers
        process.wait()
