"""Files written beside the training: in the order they were asked for, one at a time, and none after one that failed."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

_WAITING = 2  # files that may be under way: each holds a copy of the weights in memory


class Writer:
    """A thread that writes. What a task needs must not change any more: see `snapshot`."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._under_way: deque[Future[None]] = deque()
        self._failed = False

    def submit(self, task: Callable[[], None]) -> None:
        """Have `task` done after those before it; waits while too many are under way. Raises what an earlier one has raised."""
        while len(self._under_way) >= _WAITING:
            self._under_way.popleft().result()
        self._under_way.append(self._pool.submit(self._do, task))

    def flush(self) -> None:
        """Wait until everything is written. Raises what a task has raised."""
        while self._under_way:
            self._under_way.popleft().result()

    def _do(self, task: Callable[[], None]) -> None:
        if self._failed:  # a later checkpoint would speak of a best.pth that is not there
            return
        try:
            task()
        except BaseException:
            self._failed = True
            raise


@contextmanager
def writer() -> Iterator[Writer]:
    """A writer; everything is written at the end, but where the training was stopped at once. Raises what a task has raised, unless
    something else has ended the training.
    """
    with ThreadPoolExecutor(1, "checkpoints") as pool:
        writes = Writer(pool)
        try:
            yield writes
        except Exception:
            raise  # what waits is written yet: it may be the checkpoint from which the run goes on
        except BaseException:  # at once: only the file that is under way
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        writes.flush()
