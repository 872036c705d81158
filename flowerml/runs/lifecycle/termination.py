"""The end of a run: whatever happens, it is in the right state, in MLflow and in its folder."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flowerml.errors import LeaseLost, RunFailed, Stopped, UserError
from flowerml.events import Ended, Recorder, Status
from flowerml.runs.lifecycle.run_file import RunFile, write_run_file
from flowerml.runs.lifecycle.stop_request import StoppedAtOnce, StopRequest, handle_signals
from flowerml.training.callbacks import DataLoaderDied

logger = logging.getLogger(__name__)


@contextmanager
def closing(
    folder: Path,
    config_id: str,
    seed: int,
    recorder: Recorder,
    stopping: StopRequest,
    finished: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """`ending`, and the same in the folder's `run.json`: RUNNING inside. `finished` tidies up once it says FINISHED
    there. Raises as `ending`.
    """

    def state(status: str) -> None:
        write_run_file(folder, RunFile(recorder.run_id, config_id, seed, status))

    def tidy_up() -> None:
        try:
            finished()
        except UserError as error:
            logger.warning(f"the run is FINISHED, but not all could be tidied up: {error}")

    with finalize_status(recorder, state, stopping, tidy_up):
        state("RUNNING")
        yield


@contextmanager
def finalize_status(
    recorder: Recorder,
    state: Callable[[str], None] = lambda _status: None,
    stopping: StopRequest | None = None,
    finished: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Afterwards the run is FINISHED, KILLED (SIGTERM, Ctrl-C, whatever else asked it to stop) or FAILED with the
    reason; `state` hears of it too, and `finished` is called where it is FINISHED. SIGTERM and Ctrl-C are told to
    `stopping`, until the very end: on Ctrl-C a second one follows at once. None of them comes between the recorder's
    word and that of `state`.

    Raises:
        KeyboardInterrupt: for whatever asked it to stop; also where that came when the run was FINISHED.
        Fenced: another process has taken the run over, which is in that one's state now: nothing is said of this one.
        RunFailed: for any other UserError, as a run was under way; any other error passes through.
    """

    signals = stopping or StopRequest()

    def end(status: Status, reason: str) -> None:
        with suppress(StoppedAtOnce), signals.holding_back():  # it ends already
            recorder.record(Ended(status, reason))
            try:
                state(status.value)
            except UserError as error:  # a disk that is full, mostly: what ended the run must not be hidden by that
                logger.warning(f"the run is {status.value}, but its folder could not be told: {error}")
        with suppress(StoppedAtOnce):  # only the server is not waited for any longer
            recorder.close()

    over = False
    with handle_signals(signals):
        try:
            yield
            with signals.holding_back():
                state(Status.FINISHED.value)
                recorder.record(Ended(Status.FINISHED))
                over = True
            finished()
        except LeaseLost:
            raise
        except BaseException as error:
            if over:
                recorder.close()
                raise
            if signals.is_requested or isinstance(error, KeyboardInterrupt | Stopped):
                end(Status.KILLED, _why_killed(signals.is_requested or "stopped by Ctrl-C", error))
                raise KeyboardInterrupt from error
            end(Status.FAILED, str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}")
            if isinstance(error, UserError) and not isinstance(error, RunFailed):
                raise RunFailed(*error.args) from error
            raise
        recorder.close()


def _why_killed(asked: str, error: BaseException) -> str:
    """With what went wrong on the way to the stop: a checkpoint that could not be written, mostly."""
    # A signal to the whole group ends the loading processes too, and torch's complaint about them may overtake the
    # signal.
    if not isinstance(error, Exception) or isinstance(error, Stopped | DataLoaderDied):
        return asked
    words = f"{asked}, and meanwhile: {error if isinstance(error, UserError) else f'{type(error).__name__}: {error}'}"
    logger.warning(words)
    return words
