"""One process at a time delivers a journal: a lock on its file, which goes with the process."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path


class LockHeld(Exception):
    """Another process delivers this journal."""


class JournalLock:
    """The lock on the file `path`, until `release` or the end of the process."""

    def __init__(self, path: Path) -> None:
        """Raises Busy, or OSError where there is no file."""
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._handle)
            raise LockHeld from error
        except OSError:  # a file system without locks: delivering twice at once adds nothing either
            pass

    def release(self) -> None:
        """Let others have it."""
        with suppress(OSError):
            fcntl.flock(self._handle, fcntl.LOCK_UN)  # processes that were forked meanwhile hold the same lock
        os.close(self._handle)
