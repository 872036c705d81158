"""The error of a dead worker process in one line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flowerml.errors import RunFailed, Stopped

_REMEDY = (
    "mostly too little memory, or shared memory (/dev/shm; a container gets more with --shm-size 2g). Try a smaller"
    " --batch-size, fewer with --workers, or --workers 0"
)


class DataLoaderDied(RunFailed):
    """A DataLoader worker process died, mostly because memory ran out."""


def _no_stop() -> str | None:
    return None


@contextmanager
def worker_death_as_error(stop_reason: Callable[[], str | None] = _no_stop) -> Iterator[None]:
    """Translate torch's RuntimeError about a dead DataLoader worker, which a signal handler raises anywhere.

    Raises:
        DataLoaderDied: a worker died, or its batches can't be received.
        Stopped: a stop was requested, by a signal to the process group that ended the worker too.
    """
    try:
        yield
    except (RuntimeError, DataLoaderDied) as error:
        if not is_worker_death(error):
            raise
        if reason := stop_reason():
            raise Stopped(reason) from error
        if isinstance(error, DataLoaderDied):
            raise
        raise DataLoaderDied(f"a process that loads pictures died ({_first_line(error)}): {_REMEDY}") from error


@contextmanager
def lost_connection_as_error() -> Iterator[None]:
    """Translate what receiving a batch raises where its worker ended in the middle of handing it over.

    torch tells a worker's death only where that process has been seen to end: the connection is lost a moment earlier.

    Raises:
        DataLoaderDied: the connection was lost.
    """
    try:
        yield
    except (ConnectionError, EOFError, FileNotFoundError) as error:  # the last: its socket is gone
        if _was_raised_in_worker(error):
            raise
        raise DataLoaderDied(f"a process that loads pictures died ({_first_line(error)}): {_REMEDY}") from error


def is_worker_death(error: BaseException) -> bool:
    """Whether `error` is torch's about a dead worker or batches that can't be received, or was made of that."""
    if isinstance(error, DataLoaderDied):
        return True
    if not isinstance(error, RuntimeError) or _was_raised_in_worker(error):
        return False
    return any(
        words in str(error) for words in ("DataLoader worker", "Communication with the workers", "Pin memory thread")
    )


def _was_raised_in_worker(error: BaseException) -> bool:
    """Whether it is an error of the code that runs in a worker, which torch raises again with that traceback."""
    return str(error).startswith("Caught ")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].split(" Details are lost")[0].rstrip(".")
