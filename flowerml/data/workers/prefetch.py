"""Bytes that are read ahead in threads while the pictures before them are decoded, for what lies on a server.

A request takes as long as the way to the server and back, whatever is asked for; a batch's pictures are known before
the first of them is read.
"""

import os
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache
from typing import Protocol

THREADS = 8
_AHEAD = 16  # pictures that are asked for, or here, and not used yet
_AHEAD_BYTES = 2**26  # their bytes; a larger picture is read ahead alone


class Source(Hashable, Protocol):
    """Bytes that take a while to come."""

    @property
    def size(self) -> int:
        """How many bytes."""
        ...

    def read(self) -> bytes:
        """The bytes. May raise anything, in a thread; who wants the bytes gets it."""
        ...


class Prefetch:
    """The bytes of `sources`, of which a bounded number is read ahead, in their order."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._waiting = deque(dict.fromkeys(sources))
        self._started: dict[Source, Future[bytes]] = {}
        self._bytes = 0  # of what was started
        self._start()

    def take(self, source: Source) -> bytes | None:
        """Its bytes, once; None where they were not asked for, or were taken. Raises as `Source.read`."""
        future = self._started.get(source)
        if future is None:
            with suppress(ValueError):  # who takes it now reads it itself
                self._waiting.remove(source)
            return None
        try:
            return future.result()
        finally:
            del self._started[source]
            self._bytes -= source.size
            self._start()

    def end(self) -> None:
        """Start no more, and wait for what was started: a thread that reads at the end of a process may break it."""
        self._waiting.clear()
        wait([future for future in self._started.values() if not future.cancel()])

    def _start(self) -> None:
        while self._waiting and len(self._started) < _AHEAD:
            size = self._waiting[0].size
            if self._started and self._bytes + size > _AHEAD_BYTES:
                return
            source = self._waiting.popleft()
            self._bytes += size
            self._started[source] = _threads(os.getpid()).submit(source.read)


_current: ContextVar[Prefetch | None] = ContextVar("prefetch", default=None)


def read_source(source: Source) -> bytes:
    """The bytes, read ahead where this thread is in a context of `reading_ahead`. Raises as `Source.read`."""
    prefetch = _current.get()
    data = None if prefetch is None else prefetch.take(source)
    return source.read() if data is None else data


@contextmanager
def reading_ahead(sources: Sequence[Source]) -> Iterator[None]:
    """Context in which the sources, which are wanted in this order, are read ahead for `read_source` of this thread."""
    if len(sources) < 2:  # one comes as fast without a thread
        yield
        return
    prefetch = Prefetch(sources)
    token = _current.set(prefetch)
    try:
        yield
    finally:
        _current.reset(token)
        prefetch.end()


@lru_cache(maxsize=1)
def _threads(_process: int) -> ThreadPoolExecutor:
    """Those of this process: a forked one has none. They stay, as each keeps a connection."""
    return ThreadPoolExecutor(THREADS, thread_name_prefix="prefetch")
