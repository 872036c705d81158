"""Requests to stop a run: SIGTERM and SIGINT, the death of its launcher, the loss of its lease."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

import psutil

from flowerml.errors import LeaseLost
from flowerml.process.background_thread import background_thread
from flowerml.runs.lifecycle.process_identity import is_alive, start_time

logger = logging.getLogger(__name__)

_SAME_SIGNAL_S = 1.0  # on Ctrl-C `mlflow run` sends SIGTERM right after the terminal's SIGINT: that is one request
_SIGNAL_NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}
_SHELLS = {"bash", "sh", "dash", "zsh", "ksh", "busybox"}


class StoppedImmediately(KeyboardInterrupt):
    """A signal that is not waited with: unwinds as Ctrl-C does."""


class StopRequest:
    """A stop that was requested; the training loop reads `reason` between two steps.

    Outside the loop (`is_graceful` is False), or at a second signal, the run is stopped immediately.
    """

    def __init__(self) -> None:
        self.is_graceful = False
        self._is_deferring, self._deferred = False, ""
        self._reason: str | None = None
        self._lease_lost: LeaseLost | None = None
        self._first_signal = 0.0

    @property
    def reason(self) -> str | None:
        """Why the run is to stop, in words; None where no stop was requested.

        Raises:
            LeaseLost: another process has taken the run over.
        """
        if self._lease_lost is not None:
            raise self._lease_lost
        return self._reason

    @property
    def requested_reason(self) -> str | None:
        """As `reason`, without raising LeaseLost."""
        return self._reason

    def request(self, reason: str) -> None:
        """Request a stop after the current step, with a checkpoint. The first reason counts."""
        if self._reason is None:
            self._reason = reason

    def lose_lease(self, error: LeaseLost) -> None:
        """Make `reason` raise `error`: another process has taken the run over."""
        self._lease_lost = error

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """The handler of SIGTERM and SIGINT."""
        reason = f"stopped by {_SIGNAL_NAMES[signal.Signals(number)]}"
        if self._first_signal and time.monotonic() - self._first_signal < _SAME_SIGNAL_S:
            return
        is_second, self._first_signal = self._first_signal > 0, time.monotonic()
        self.request(reason)
        if self._is_deferring:
            self._deferred = reason
            return
        if is_second or not self.is_graceful:
            raise StoppedImmediately(reason)
        with suppress(RuntimeError):  # the signal interrupted the printing of another line
            logger.info(
                f"{reason.replace('stopped', 'stopping')}, after this step and with a checkpoint (once more stops at"
                " once)"
            )

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Inside, a first signal interrupts too: nothing is half done, and what is waited for may never come.

        Raises:
            StoppedImmediately: a signal, or one has come before.
        """
        before, self.is_graceful = self.is_graceful, False
        try:
            if self._reason is not None:
                raise StoppedImmediately(self._reason)
            yield
        finally:
            self.is_graceful = before

    @contextmanager
    def defer_signals(self) -> Iterator[None]:
        """Inside, a signal does not interrupt; StoppedImmediately is raised at the end, unless another error was."""
        self._is_deferring = True
        try:
            yield
        finally:
            self._is_deferring = False
        if self._deferred:
            reason, self._deferred = self._deferred, ""
            raise StoppedImmediately(reason)


@contextmanager
def handle_signals(stop: StopRequest) -> Iterator[None]:
    """Inside, `stop` handles SIGTERM and SIGINT. Does nothing outside the main thread, which alone receives signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop.on_signal) for number in _SIGNAL_NAMES}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def graceful(stop: StopRequest) -> Iterator[Callable[[], str | None]]:
    """Inside, a first signal only sets the reason, which the loop reads with the function this yields."""
    stop.is_graceful = True
    try:
        yield lambda: stop.reason
    finally:
        stop.is_graceful = False


@contextmanager
def watch_run(
    heartbeat: Callable[[], None], interval: float, stop: StopRequest, launcher: "Launcher | None"
) -> Iterator[None]:
    """Inside, a thread calls `heartbeat` every `interval` seconds and checks that the launcher (if any) is alive.

    It requests a stop where the launcher died, and passes a LeaseLost on to `stop`.
    """

    def watch(ended: threading.Event) -> None:
        due, is_ok = time.monotonic() + interval, True
        while not ended.wait(min(interval, 1.0)):
            if launcher is not None and launcher.is_dead:
                stop.request("its launcher (mlflow run) died")
            if time.monotonic() < due:
                continue
            due = time.monotonic() + interval
            try:
                heartbeat()
                is_ok = True
            except LeaseLost as error:
                stop.lose_lease(error)
                return
            except Exception as error:  # a full disk must not end a training; without heartbeats another may take over
                if is_ok:
                    logger.warning(f"no sign of life can be written: {error}")
                is_ok = False

    with background_thread(watch, "heartbeat", wait_s=5):
        yield


@dataclass(frozen=True)
class Launcher:
    """`mlflow run`, and the shell between it and this process, if any: (pid, start time) of each, the parent first."""

    processes: tuple[tuple[int, float], ...]

    @property
    def is_dead(self) -> bool:
        """Whether one of them has died: an orphan gets another parent, but a shell in between would survive."""
        return os.getppid() != self.processes[0][0] or not all(
            is_alive(pid, started) for pid, started in self.processes[1:]
        )


def find_launcher(*, stops: bool) -> Launcher | None:
    """The `mlflow run` that started this process, None where there is none or its death is not to stop the run."""
    if not stops or not os.environ.get("MLFLOW_RUN_ID"):
        return None
    processes = [(os.getppid(), 0.0)]
    with suppress(psutil.Error):
        for process in psutil.Process().parents():
            if process.pid != os.getppid():
                processes.append((process.pid, start_time(process.pid)))
            if process.name() not in _SHELLS:
                break
    return Launcher(tuple(processes))
