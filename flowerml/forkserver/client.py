"""The client of a fork server: start the server, give it jobs, collect their results."""

import logging
import multiprocessing
import os
import subprocess
import sys
import time

from flowerml.errors import RunFailed
from flowerml.forkserver.job import Job, JobResult
from flowerml.process.environment import short_wait
from flowerml.runs.lifecycle.device_share import ONE_THREAD

logger = logging.getLogger(__name__)

_IMPORTS_S = 300.0  # for the server's imports, on a busy machine
_MAX_DEATHS = 5  # of servers, until something is taken to kill them
# The MLflow run that `mlflow run` has opened is the command's own: jobs must not write to it.
_NOT_INHERITED = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")


class ForkClient:
    """Runs jobs in children of a fork server that has imported `functions`, named as in `Job`.

    A server that died is replaced. Its imports take seconds: construct it before this process imports torch and
    MLflow, and both go on side by side. It has a session of its own: Ctrl-C in a terminal reaches this process alone.
    Its environment is the one at the construction.
    """

    def __init__(self, *functions: str) -> None:
        self._preload = [name.partition(":")[0] for name in functions]
        self._running: dict[str, None] = {}  # an ordered set
        self._results: list[JobResult] = []
        self._deaths = 0
        self._start_server()

    def _start_server(self) -> None:
        self._problem = ""
        self._is_ready = self._is_disconnected = False
        self._server, other_end = multiprocessing.Pipe()
        environment = {name: text for name, text in os.environ.items() if name not in _NOT_INHERITED} | ONE_THREAD
        environment |= short_wait(environment)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "flowerml.forkserver.server", str(other_end.fileno()), *self._preload],
            pass_fds=[other_end.fileno()],
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        other_end.close()

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._process.pid

    @property
    def is_dead(self) -> bool:
        """Whether the server has died; the next job gets another one."""
        return self._is_disconnected or self._process.poll() is not None

    @property
    def running(self) -> tuple[str, ...]:
        """The names of the jobs that have not ended."""
        return tuple(self._running)

    def wait_ready(self) -> None:
        """Wait for the server's imports; replace a server that has died since.

        Raises:
            RunFailed: it can't fork safely, did not come up, or died too often.
        """
        if self._is_ready and self.is_dead:
            self._replace_server()
        deadline = time.monotonic() + _IMPORTS_S
        while not self._is_ready:
            if self._problem or self._process.poll() is not None or time.monotonic() > deadline:
                raise RunFailed(
                    f"the process that starts the runs did not come up: {self._problem or 'see the lines above'}"
                )
            self._receive(1.0)

    def start(self, job: Job) -> None:
        """Start a job. Raises RunFailed as `wait_ready`."""
        self.wait_ready()
        self._running[job.name] = None
        self._send("start", job)

    def stop(self, name: str) -> None:
        """Send SIGTERM to a job: the first time it stops with a checkpoint, the second time at once."""
        if name in self._running:
            self._send("stop", name)

    def poll(self, seconds: float) -> list[JobResult]:
        """Results of the jobs that have ended since the last call; waits up to so many seconds for the first."""
        deadline = time.monotonic() + seconds
        while self._running and not self._results and (remaining := deadline - time.monotonic()) > 0:
            self._receive(remaining)
        if not self._running and not self._results:
            time.sleep(max(0.0, deadline - time.monotonic()))
        results, self._results = self._results, []
        return results

    def close(self, seconds: float = 60.0) -> None:
        """Disconnect, which sends SIGTERM to running jobs, and wait up to so many seconds for the server's end."""
        if not self._is_ready:  # don't wait for its imports
            self._process.terminate()
        self._server.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return

    def _receive(self, seconds: float) -> None:
        try:
            if not self._server.poll(seconds):
                return
            message, content = self._server.recv()
        except (EOFError, OSError):
            self._disconnect()
            return
        if message == "ready":
            self._is_ready = True
        elif message == "problem":
            self._problem = content
        elif message == "ended":
            self._running.pop(content.name, None)
            self._results.append(content)

    def _send(self, request: str, content: object) -> None:
        try:
            self._server.send((request, content))
        except OSError:
            self._disconnect()

    def _disconnect(self) -> None:
        """The server died: the kernel sends SIGTERM to its children, and their exit codes are lost."""
        self._is_disconnected = True  # its socket is closed before the process has ended
        reason = "the process that had started it died"
        self._problem = self._problem or reason
        self._results += [JobResult(name, -1, reason, lost=True) for name in self._running]
        self._running.clear()

    def _replace_server(self) -> None:
        while not self._is_disconnected:  # what it sent before its death
            self._receive(1.0)
        self._server.close()
        self._deaths += 1
        if self._deaths >= _MAX_DEATHS:
            raise RunFailed(f"the process that starts the runs died {self._deaths} times: something kills it (memory?)")
        logger.warning("the process that starts the runs died: another one takes its place")
        self._start_server()
