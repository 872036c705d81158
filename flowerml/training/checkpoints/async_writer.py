"""Files written beside the training: in the order they were asked for, one at a time, and none after one that failed."""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

from flowerml.training.callbacks import Stopped

logger = logging.getLogger(__name__)

_WAITING = 2  # files that may be under way: each holds a copy of the weights in memory


class AsyncWriter:
    """A thread that writes. What a task needs must not change any more: see `snapshot`."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._under_way: deque[Future[None]] = deque()
        self._failed = False

    def submit(self, task: Callable[[], None]) -> None:
        """Have `task` done after those before it; waits while too many are under way. Raises what an earlier one has
        raised.
        """
        while len(self._under_way) >= _WAITING:
            self._await_first()
        self._under_way.append(self._pool.submit(self._do, task))

    def flush(self) -> None:
        """Wait until everything is written. Raises what a task has raised. Interrupted, only the file that is under way
        is written yet.
        """
        while self._under_way:
            self._await_first()

    def _await_first(self) -> None:
        try:
            wait([self._under_way[0]])
        except BaseException:
            self.cancel()
            raise
        self._under_way.popleft().result()

    def cancel(self) -> None:
        """Write nothing more than the file that is under way; waits for that one."""
        for future in self._under_way:
            future.cancel()
        wait(self._under_way)  # not for the thread: to Python 3.11 one whose waiting was interrupted has ended

    def _do(self, task: Callable[[], None]) -> None:
        if self._failed:  # a later checkpoint would speak of a best.pth that is not there
            return
        try:
            task()
        except BaseException:
            self._failed = True
            raise


@contextmanager
def async_writer() -> Iterator[AsyncWriter]:
    """A writer; everything is written at the end, but where the training was stopped at once.

    Raises:
        BaseException: what a task has raised. Where something else has ended the training that is only warned of,
            unless it was asked to stop: then what was to be kept is not.
    """
    pool = ThreadPoolExecutor(1, "checkpoints")
    writes = AsyncWriter(pool)
    try:
        yield writes
        writes.flush()
    except Exception as error:
        _write_the_rest(writes, error)  # what waits: it may be the checkpoint from which the run goes on
        raise
    except BaseException:
        writes.cancel()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _write_the_rest(writes: AsyncWriter, ended_by: Exception) -> None:
    try:
        writes.flush()
    except Exception as error:
        if error is ended_by:
            return
        if isinstance(ended_by, Stopped):
            raise error from ended_by
        logger.warning(f"and meanwhile: {error}")
