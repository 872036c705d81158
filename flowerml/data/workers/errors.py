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


def is_worker_death(error: BaseException) -> bool:
    """Whether `error` is torch's about a dead worker or batches that can't be received, or was made of that."""
    if isinstance(error, DataLoaderDied):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("DataLoader worker", "Communication with the workers", "Pin memory thread")
    )


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0].split(" Details are lost")[0].rstrip(".")
