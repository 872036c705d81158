"""The end of a run: whatever happens, it is in the right state, in MLflow and in its folder."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from flowerml.errors import UserError
from flowerml.events import Ended, Recorder, Status
from flowerml.runs.folder import RunFile, write_run_file


class _Sigterm(BaseException):
    """SIGTERM arrived: unwinds as Ctrl-C does."""


@contextmanager
def closing(folder: Path, config_id: str, seed: int, recorder: Recorder) -> Iterator[None]:
    """RUNNING inside; afterwards FINISHED, KILLED (SIGTERM, Ctrl-C) or FAILED with the reason.

    Raises:
        KeyboardInterrupt: for both signals; any other error passes through.
    """

    def state(status: str) -> None:
        write_run_file(folder, RunFile(recorder.run_id, config_id, seed, status))

    def end(status: Status, reason: str = "") -> None:
        recorder.record(Ended(status, reason))
        state(status.value)

    arrived: list[int] = []
    try:
        state("RUNNING")
        with _on_sigterm(arrived):
            yield
    except BaseException as error:
        # A signal to the whole group ends the loading processes too, and torch's complaint about them may overtake the signal.
        if arrived or isinstance(error, KeyboardInterrupt):
            end(Status.KILLED, "stopped by SIGTERM" if arrived else "stopped by Ctrl-C")
            raise KeyboardInterrupt from error
        end(Status.FAILED, str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}")
        raise
    end(Status.FINISHED)


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
