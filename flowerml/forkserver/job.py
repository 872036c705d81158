"""A job for a process of its own, and its result; both are pickled."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Job:
    """Call `function(*arguments)` in a child process, its stdout and stderr appended to the file `log`.

    The function is named as `module:function`, so that the client need not import it. `environment` is added to the
    server's; `threads` is torch's number of intra-op threads (None: its default).
    """

    name: str
    function: str
    arguments: tuple[Any, ...]
    log: str
    environment: Mapping[str, str] = field(default_factory=dict)
    threads: int | None = None


@dataclass(frozen=True)
class JobResult:
    """How a job's process ended: exit code (negative: killed by that signal) and its error in one line.

    Codes are those of every command: 0 success, 1 failed, 2 refused (nothing was begun), 130 stopped. `lost`: the
    server or its machine died, so the exit code is unknown.
    """

    name: str
    exit_code: int
    last_line: str = ""
    lost: bool = False
