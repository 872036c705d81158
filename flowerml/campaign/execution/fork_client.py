"""The side that asks a zygote: start it, give it jobs, hear how they ended."""

import json
import os
import select
import socket
import subprocess
import sys
import time
from typing import Any

from flowerml.campaign.execution.fork_server import ended_of
from flowerml.campaign.execution.job import Job, JobResult
from flowerml.errors import RunFailed
from flowerml.runs.lifecycle.device_share import ONE_THREAD

_PATIENCE = 300.0  # seconds for the imports, on a machine that is busy with other things
# What a run must not inherit: it is not the run that `mlflow run` has opened for the campaign.
_NOT_PASSED_ON = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")


class ForkClient:
    """A zygote in a process of its own session, so that Ctrl-C in a terminal reaches the asking process alone."""

    def __init__(self) -> None:
        self._waiting = b""
        self._running: dict[str, int | None] = {}
        self._ended: list[JobResult] = []
        self._problem = ""
        self._ready = self._gone = False
        mine, its = socket.socketpair()
        self._socket = mine
        environment = {name: text for name, text in os.environ.items() if name not in _NOT_PASSED_ON} | ONE_THREAD
        self._process = subprocess.Popen(
            [sys.executable, "-m", "flowerml.campaign.execution.fork_server", str(its.fileno())],
            pass_fds=[its.fileno()],
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        its.close()

    def wait_ready(self) -> None:
        """Wait for its imports. Raises RunFailed where it can't fork safely, or ended."""
        until = time.monotonic() + _PATIENCE
        while not self._ready:
            if self._problem or self._process.poll() is not None or time.monotonic() > until:
                raise RunFailed(
                    f"the process that starts the runs did not come up: {self._problem or 'see the lines above'}"
                )
            self._hear(1.0)

    @property
    def pid(self) -> int:
        """The number of the zygote's process."""
        return self._process.pid

    @property
    def running(self) -> tuple[str, ...]:
        """The names of the jobs that have not ended."""
        return tuple(self._running)

    def process_of(self, name: str) -> int:
        """The number of a job's process, once it has one."""
        while self._running.get(name, 0) is None:
            self._hear(1.0)
        process = self._running[name]
        assert process is not None
        return process

    def start(self, job: Job) -> None:
        """Let a child do a job."""
        self._running[job.name] = None
        self._tell({"job": job.as_json()})

    def stop(self, name: str) -> None:
        """Ask a job to stop, with a checkpoint; asked again, at once."""
        if name in self._running:
            self._tell({"stop": name})

    def poll(self, seconds: float) -> list[JobResult]:
        """Jobs that have ended since the last call; waits up to so many seconds for the first."""
        until = time.monotonic() + seconds
        while self._running and not self._ended and (left := until - time.monotonic()) > 0:
            self._hear(left)
        if not self._running and not self._ended:
            time.sleep(max(0.0, until - time.monotonic()))
        ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        """Let it go: what still runs is asked to stop, and is not waited for. Its imports are cut short."""
        if not self._ready:
            self._process.terminate()
        self._socket.close()

    def wait(self, seconds: float) -> None:
        """Wait for its end, after `close`."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return

    def _hear(self, seconds: float) -> None:
        ready, _, _ = select.select([self._socket], [], [], seconds)
        if not ready:
            return
        try:
            data = self._socket.recv(65_536)
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        *lines, self._waiting = (self._waiting + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _take(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            self._ready = True
        elif "problem" in message:
            self._problem = message["problem"]
        elif "started" in message:
            self._running[message["started"]] = message["process"]
        elif "ended" in message:
            ended = ended_of(message["ended"])
            self._running.pop(ended.name, None)
            self._ended.append(ended)

    def _lost(self) -> None:
        """It died; its children are asked to stop by the system, and how they end nobody tells."""
        self._gone = True  # its sockets go before itself does
        words = "the process that had started it died"
        self._problem = self._problem or words
        self._ended += [JobResult(name, -1, words, lost=True) for name in self._running]
        self._running.clear()

    @property
    def dead(self) -> bool:
        """Whether another one is needed."""
        return self._gone or self._process.poll() is not None

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self._lost()
