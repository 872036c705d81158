"""The end of a run: whatever happens, it is in the right state, in MLflow and in its folder."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from flowerml.console import warn
from flowerml.errors import RunFailed, UserError
from flowerml.events import Ended, Recorder, Status
from flowerml.runs.folder import RunFile, write_run_file


class _Sigterm(BaseException):
    """SIGTERM arrived: unwinds as Ctrl-C does."""


@contextmanager
def closing(folder: Path, config_id: str, seed: int, recorder: Recorder) -> Iterator[None]:
    """`ending`, and the same in the folder's `run.json`: RUNNING inside. Raises as `ending`."""

    def state(status: str) -> None:
        write_run_file(folder, RunFile(recorder.run_id, config_id, seed, status))

    with ending(recorder, state):
        state("RUNNING")
        yield


@contextmanager
def ending(recorder: Recorder, state: Callable[[str], None] = lambda _status: None) -> Iterator[None]:
    """Afterwards the run is FINISHED, KILLED (SIGTERM, Ctrl-C) or FAILED with the reason; `state` hears of it too.

    Raises:
        KeyboardInterrupt: for both signals.
        RunFailed: for any UserError, as a run was under way; any other error passes through.
    """

    def end(status: Status, reason: str) -> None:
        recorder.record(Ended(status, reason))
        try:
            state(status.value)
        except UserError as error:  # a disk that is full, mostly: what ended the run must not be hidden by that
            warn(f"the run is {status.value}, but its folder could not be told: {error}")

    arrived: list[int] = []
    try:
        with _on_sigterm(arrived):
            yield
        state(Status.FINISHED.value)
    except BaseException as error:
        # A signal to the whole group ends the loading processes too, and torch's complaint about them may overtake the signal.
        if arrived or isinstance(error, KeyboardInterrupt):
            end(Status.KILLED, "stopped by SIGTERM" if arrived else "stopped by Ctrl-C")
            raise KeyboardInterrupt from error
        end(Status.FAILED, str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}")
        if isinstance(error, UserError) and not isinstance(error, RunFailed):
            raise RunFailed(*error.args) from error
        raise
    recorder.record(Ended(Status.FINISHED))


@contextmanager
def _on_sigterm(arrived: list[int]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        arrived.append(number)
        raise _Sigterm

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
