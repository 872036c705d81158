"""The end of a process that has imported torch, without the seconds of the interpreter's teardown.

Of its last garbage collections, which look through every object of every module, nothing is left afterwards but time:
2 s, 4 s on a slow processor. What matters at an end happens as ever: other threads are waited for, and all handlers
registered with `atexit` run (multiprocessing's, which ends its processes, among them).
"""

import atexit
import contextlib
import logging
import os
import sys
import traceback


class _End:
    """Ends the process with `code` once that is set."""

    code: int | None = None

    def __call__(self) -> None:
        if self.code is None:
            return
        logging.shutdown()  # registered with `atexit` earlier than this, so it has not run yet
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # a reader that has gone, a stream that was closed
                stream.flush()
        os._exit(self.code)


# The last registered runs first: this module is imported before those whose handlers have to run before it.
_end = _End()
atexit.register(_end)


def skip_teardown(code: int) -> int:
    """Let this process end with `code` as soon as its threads and exit handlers have; returns `code`, for `sys.exit`.

    A process that ends otherwise (an exception that nobody caught) keeps the interpreter's own end.
    """
    _end.code = code
    return code


def release_frames(error: BaseException) -> None:
    """Clear the local variables of the functions that `error`, and what it was made of, has left.

    Exceptions and their tracebacks are cycles, which keep the loader of a failed training alive until the process ends:
    its processes, which survive SIGTERM for a while, would be waited for. A collection does not end them either: it
    closes the queues first by which they are told to.
    """
    found: dict[int, BaseException] = {}
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is not None and id(one) not in found:
            found[id(one)] = one
            left += [one.__cause__, one.__context__]
    for one in found.values():
        traceback.clear_frames(one.__traceback__)
