"""Record the final status of a run, in MLflow and in its folder, whatever ended it."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flowerml.data.workers.errors import DataLoaderDied
from flowerml.errors import LeaseLost, RunFailed, Stopped, UserError
from flowerml.events import Ended, Recorder, Status
from flowerml.runs.lifecycle.run_file import RunFile, write_run_file
from flowerml.runs.lifecycle.stop_request import StoppedImmediately, StopRequest, handle_signals

logger = logging.getLogger(__name__)


@contextmanager
def finalize_run_status(
    folder: Path,
    config_id: str,
    seed: int,
    recorder: Recorder,
    stop: StopRequest,
    clean_up: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """`finalize_status`, with the status also in the folder's `run.json`: RUNNING inside.

    `clean_up` is called once `run.json` says FINISHED, and no signal interrupts it. Raises as `finalize_status`.
    """

    def write_status(status: str) -> None:
        write_run_file(folder, RunFile(recorder.run_id, config_id, seed, status))

    def clean_up_or_warn() -> None:
        try:
            clean_up()
        except UserError as error:
            logger.warning(f"the run is FINISHED, but not all could be tidied up: {error}")

    with finalize_status(recorder, write_status, stop, clean_up_or_warn):
        write_status("RUNNING")
        yield


@contextmanager
def finalize_status(
    recorder: Recorder,
    write_status: Callable[[str], None] = lambda _status: None,
    stop: StopRequest | None = None,
    on_finished: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Record FINISHED, KILLED (a stop was requested) or FAILED with the reason, with the recorder and `write_status`.

    `on_finished` is called after FINISHED was recorded. `stop` handles SIGTERM and SIGINT until the very end (Ctrl-C
    under `mlflow run` sends two signals), and none interrupts from the first of recorder, `write_status` and
    `on_finished` to the last.

    Raises:
        KeyboardInterrupt: a stop was requested, also where the run was FINISHED by then.
        LeaseLost: another process has taken the run over and owns its status: nothing is recorded.
        RunFailed: for any other UserError, as the run had started; any other error passes through.
    """

    stop = stop or StopRequest()

    def end(status: Status, reason: str) -> None:
        with suppress(StoppedImmediately), stop.defer_signals():  # it ends anyway
            recorder.record(Ended(status, reason))
            try:
                write_status(status.value)
            except UserError as error:  # mostly a full disk; it must not hide what ended the run
                logger.warning(f"the run is {status.value}, but its folder could not be told: {error}")
        with suppress(StoppedImmediately):  # it only ends the waiting for the server
            recorder.close()

    is_recorded = False
    with handle_signals(stop):
        try:
            yield
            with stop.defer_signals():
                write_status(Status.FINISHED.value)
                recorder.record(Ended(Status.FINISHED))
                is_recorded = True
                on_finished()
        except LeaseLost:
            raise
        except BaseException as error:
            if is_recorded:
                recorder.close()
                raise
            if stop.requested_reason or isinstance(error, KeyboardInterrupt | Stopped):
                end(Status.KILLED, _kill_reason(stop.requested_reason or "stopped by Ctrl-C", error))
                raise KeyboardInterrupt from error
            end(Status.FAILED, str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}")
            if isinstance(error, UserError) and not isinstance(error, RunFailed):
                raise RunFailed(*error.args) from error
            raise
        recorder.close()


def _kill_reason(requested: str, error: BaseException) -> str:
    """The requested reason, and what went wrong on the way to the stop: mostly an unwritable checkpoint."""
    # A signal to the process group ends the loader processes too, and torch's error about them may arrive first.
    if not isinstance(error, Exception) or isinstance(error, Stopped | DataLoaderDied):
        return requested
    words = (
        f"{requested}, and meanwhile: {error if isinstance(error, UserError) else f'{type(error).__name__}: {error}'}"
    )
    logger.warning(words)
    return words
