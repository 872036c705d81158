"""On the PYTHONPATH of a command: its processes have a clock that a file sets, by so many seconds."""

import os
import time

_REAL, _FILE = time.time, os.environ["CHAOS_CLOCK"]


def _set_time() -> float:
    try:
        with open(_FILE) as file:  # noqa: PTH123 - before anything is imported
            return _REAL() + float(file.read() or 0)
    except OSError:
        return _REAL()


time.time = _set_time
