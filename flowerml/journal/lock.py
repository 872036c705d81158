"""Exclusive lock on a journal, so that one process at a time delivers it; the kernel frees it when the process ends."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path


class LockHeld(Exception):
    """Another process is delivering this journal."""


class JournalLock:
    """An exclusive lock on the file `path`, held until `release` or the end of the process."""

    def __init__(self, path: Path) -> None:
        """Raises LockHeld, or OSError if there is no such file."""
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._handle)
            raise LockHeld from error
        except OSError:  # a file system without locks: delivery is idempotent, so two at once do no harm
            pass

    def release(self) -> None:
        """Release the lock."""
        with suppress(OSError):
            fcntl.flock(self._handle, fcntl.LOCK_UN)  # forked children share the lock: closing would not free it
        os.close(self._handle)
