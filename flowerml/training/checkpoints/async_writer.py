"""Writes files in a background thread: in order, one at a time, and none after one that failed."""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

from flowerml.errors import Stopped

logger = logging.getLogger(__name__)

_MAX_PENDING = 2  # each pending checkpoint holds a copy of the weights in memory


class AsyncWriter:
    """Runs tasks in one thread. A task must own its data, as it goes on beside the training: see `copy_to_cpu`."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._pending: deque[Future[None]] = deque()
        self._failed = False

    def submit(self, task: Callable[[], None]) -> None:
        """Queue `task`; waits while too many are pending. Raises what an earlier task raised."""
        while len(self._pending) >= _MAX_PENDING:
            self._wait_for_oldest()
        self._pending.append(self._pool.submit(self._run_task, task))

    def flush(self) -> None:
        """Wait until everything is written. Raises what a task raised.

        On an interrupt the file being written is finished, and the pending ones are dropped.
        """
        while self._pending:
            self._wait_for_oldest()

    def _wait_for_oldest(self) -> None:
        try:
            wait([self._pending[0]])
        except BaseException:
            self.cancel()
            raise
        self._pending.popleft().result()

    def cancel(self) -> None:
        """Drop pending tasks and wait for the running one."""
        for future in self._pending:
            future.cancel()
        wait(self._pending)  # not Thread.join: in Python 3.11 an interrupted join marks the thread as ended

    def _run_task(self, task: Callable[[], None]) -> None:
        if self._failed:  # a later checkpoint would refer to a best.pth that is missing
            return
        try:
            task()
        except BaseException:
            self._failed = True
            raise


@contextmanager
def async_writer(thread: str = "checkpoints") -> Iterator[AsyncWriter]:
    """A writer that is flushed at the end, or cancelled on an interrupt (KeyboardInterrupt, a second signal).

    `thread` is its thread's name.

    Raises:
        BaseException: what a task raised. Where another exception ended the training, a task's error is only logged as
            a warning, unless that exception is Stopped: then the checkpoint to resume from is not saved.
    """
    pool = ThreadPoolExecutor(1, thread)
    writer = AsyncWriter(pool)
    try:
        yield writer
        writer.flush()
    except Exception as error:
        _flush_after_error(writer, error)  # a pending task may be the checkpoint to resume from
        raise
    except BaseException:
        writer.cancel()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _flush_after_error(writer: AsyncWriter, cause: Exception) -> None:
    try:
        writer.flush()
    except Exception as error:
        if error is cause:
            return
        if isinstance(cause, Stopped):
            raise error from cause
        logger.warning(f"and meanwhile: {error}")
