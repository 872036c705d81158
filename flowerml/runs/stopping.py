"""What asks a run to stop: a signal, the death of whoever started it, another process that has taken it over."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from flowerml.console import say, warn
from flowerml.errors import Fenced

_PAUSE = 1.0  # seconds in which a second signal is taken for the first: on Ctrl-C `mlflow run` sends SIGTERM right behind the terminal's
_NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}


class StoppedAtOnce(BaseException):
    """A signal arrived where nothing is left to do first: unwinds as Ctrl-C does."""


class Stopping:
    """Hears what asks the run to stop, and answers the loop, which asks between two steps (`reason`).

    Where no loop asks (`patient` is off), or at a second signal, the run is stopped at once.
    """

    def __init__(self) -> None:
        self.patient = False
        self._reason: str | None = None
        self._fenced: Fenced | None = None
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
    def asked(self) -> str | None:
        """As `reason`, without the error."""
        return self._reason

    def ask(self, reason: str) -> None:
        """Ask the run to stop where it can go on later."""
        if self._reason is None:
            self._reason = reason

    def fence(self, error: Fenced) -> None:
        """Another process has taken the run over."""
        self._fenced = error

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """The handler of SIGTERM and SIGINT."""
        words = f"stopped by {_NAMES[signal.Signals(number)]}"
        if self._first and time.monotonic() - self._first < _PAUSE:
            return
        again, self._first = self._first > 0, time.monotonic()
        self.ask(words)
        if again or not self.patient:
            raise StoppedAtOnce(words)
        say(f"{words.replace('stopped', 'stopping')}, after this step and with a checkpoint (once more stops at once)")


@contextmanager
def heard(stopping: Stopping) -> Iterator[None]:
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
def patient(stopping: Stopping) -> Iterator[Callable[[], str | None]]:
    """Inside, a first signal waits for the loop to ask; gives what it asks with."""
    stopping.patient = True
    try:
        yield lambda: stopping.reason
    finally:
        stopping.patient = False


@contextmanager
def watched(beat: Callable[[], None], every: float, stopping: Stopping, launcher: int | None) -> Iterator[None]:
    """Inside, a thread gives a sign of life every so many seconds, and looks whether the process's parent is still `launcher` (None: it
    does not matter). Tells `stopping` what it finds.
    """
    over = threading.Event()

    def watch() -> None:
        due = time.monotonic() + every
        while not over.wait(min(every, 1.0)):
            if launcher is not None and os.getppid() != launcher:
                stopping.ask("its launcher (mlflow run) died")
            if time.monotonic() < due:
                continue
            due = time.monotonic() + every
            try:
                beat()
            except Fenced as error:
                stopping.fence(error)
                return
            except Exception as error:  # a disk that is full must not end a training; whoever waits for the sign may take it over
                warn(f"no sign of life could be written: {error}")

    thread = threading.Thread(target=watch, name="sign-of-life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=5)


def launcher_of(*, stops: bool) -> int | None:
    """The process that started this one, where that is `mlflow run` and its death is to stop the run."""
    return os.getppid() if stops and os.environ.get("MLFLOW_RUN_ID") else None
