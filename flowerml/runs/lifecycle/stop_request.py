"""What asks a run to stop: a signal, the death of whoever started it, another process that has taken it over."""

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
from flowerml.runs.lifecycle.process_identity import is_alive, start_time

logger = logging.getLogger(__name__)

# seconds in which a second signal is taken for the first: on Ctrl-C `mlflow run` sends SIGTERM right behind the
# terminal's
_PAUSE = 1.0
_NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}
_SHELLS = {"bash", "sh", "dash", "zsh", "ksh", "busybox"}


class StoppedAtOnce(KeyboardInterrupt):
    """A signal arrived where nothing is left to do first: unwinds as Ctrl-C does."""


class StopRequest:
    """Hears what asks the run to stop, and answers the loop, which asks between two steps (`reason`).

    Where no loop asks (`patient` is off), or at a second signal, the run is stopped at once.
    """

    def __init__(self) -> None:
        self.patient = False
        self._holds, self._held_back = False, ""
        self._reason: str | None = None
        self._fenced: LeaseLost | None = None
        self._first = 0.0

    @property
    def reason(self) -> str | None:
        """Why the run is to stop, in words; None while it may go on.

        Raises:
            Fenced: another process has taken the run over.
        """
        if self._fenced is not None:
            raise self._fenced
        return self._reason

    @property
    def is_requested(self) -> str | None:
        """As `reason`, without the error."""
        return self._reason

    def request(self, reason: str) -> None:
        """Ask the run to stop where it can go on later."""
        if self._reason is None:
            self._reason = reason

    def fence(self, error: LeaseLost) -> None:
        """Another process has taken the run over."""
        self._fenced = error

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """The handler of SIGTERM and SIGINT."""
        words = f"stopped by {_NAMES[signal.Signals(number)]}"
        if self._first and time.monotonic() - self._first < _PAUSE:
            return
        again, self._first = self._first > 0, time.monotonic()
        self.request(words)
        if self._holds:
            self._held_back = words
            return
        if again or not self.patient:
            raise StoppedAtOnce(words)
        with suppress(RuntimeError):  # where the signal met another line that was just being printed
            logger.info(
                f"{words.replace('stopped', 'stopping')}, after this step and with a checkpoint (once more stops at"
                " once)"
            )

    @contextmanager
    def holding_back(self) -> Iterator[None]:
        """Inside, a signal interrupts nothing: it raises at the end, if all went well until then."""
        self._holds = True
        try:
            yield
        finally:
            self._holds = False
        if self._held_back:
            words, self._held_back = self._held_back, ""
            raise StoppedAtOnce(words)


@contextmanager
def handle_signals(stopping: StopRequest) -> Iterator[None]:
    """Inside, SIGTERM and SIGINT are told to `stopping`. Only the main thread of a process can hear signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stopping.on_signal) for number in _NAMES}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def graceful(stopping: StopRequest) -> Iterator[Callable[[], str | None]]:
    """Inside, a first signal waits for the loop to ask; gives what it asks with."""
    stopping.patient = True
    try:
        yield lambda: stopping.reason
    finally:
        stopping.patient = False


@contextmanager
def watched(
    beat: Callable[[], None], every: float, stopping: StopRequest, launcher: "Launcher | None"
) -> Iterator[None]:
    """Inside, a thread gives a sign of life every so many seconds, and looks whether the launcher still lives (None: it
    does not matter). Tells `stopping` what it finds.
    """
    over = threading.Event()

    def watch() -> None:
        due, well = time.monotonic() + every, True
        while not over.wait(min(every, 1.0)):
            if launcher is not None and launcher.gone:
                stopping.request("its launcher (mlflow run) died")
            if time.monotonic() < due:
                continue
            due = time.monotonic() + every
            try:
                beat()
                well = True
            except LeaseLost as error:
                stopping.fence(error)
                return
            except (
                Exception
            ) as error:  # a disk that is full must not end a training; whoever waits for the sign may take it over
                if well:
                    logger.warning(f"no sign of life can be written: {error}")
                well = False

    thread = threading.Thread(target=watch, name="sign-of-life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=5)


@dataclass(frozen=True)
class Launcher:
    """`mlflow run`, and the shell between it and this process, where one is: (number, start) of each, the parent first."""

    processes: tuple[tuple[int, float], ...]

    @property
    def gone(self) -> bool:
        """Whether one of them has died. An orphan gets another parent; a shell in between would survive."""
        return os.getppid() != self.processes[0][0] or not all(
            is_alive(pid, started) for pid, started in self.processes[1:]
        )


def launcher_of(*, stops: bool) -> Launcher | None:
    """Who started this process, where that is `mlflow run` and its death is to stop the run."""
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
