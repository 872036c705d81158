"""A thread that works beside the main one for the length of a context."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def background_thread(
    work: Callable[[threading.Event], None], name: str, *, wait_s: float | None = None
) -> Iterator[None]:
    """Context in which a daemon thread calls `work`, which returns soon after its event is set, at the context's end.

    That is waited for, `wait_s` seconds at most; None: as long as it takes.
    """
    ended = threading.Event()
    thread = threading.Thread(target=work, args=(ended,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(wait_s)
