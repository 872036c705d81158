"""How long training waits for its batches: what faster loading could save."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

_Item = TypeVar("_Item")


class DataWait:
    """Time (s) in which the training's steps waited for the next batch, and the time of these epochs as a whole."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.waited_s = self.total_s = 0.0

    def measured(self, batches: Iterator[_Item]) -> Iterator[_Item]:
        """The same batches; the time until each is there counts as waited, that until it is asked for as the total."""
        asked = started = self._clock()
        try:
            for batch in batches:
                self.waited_s += self._clock() - asked
                yield batch
                asked = self._clock()
        finally:
            self.total_s += self._clock() - started

    @property
    def share(self) -> float:
        """Waiting as a share of the time, 0 to 1."""
        return self.waited_s / self.total_s if self.total_s else 0.0
