"""Processes as they can be told from others, also later: a number is used again, and says nothing on another machine or
in a container.
"""

import os
from pathlib import Path

import psutil


def machine() -> str:
    """Where numbers of processes mean what they mean here: this start of the system and, on Linux, this container; ""
    where that is not known.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 - no path
    except OSError:
        return ""


def start_time(pid: int) -> float:
    """When a process was started: clock ticks since the system's start on Linux, where the calendar may be set anew
    meanwhile, else seconds since 1970. Raises psutil.Error.
    """
    try:
        # The name of the program, in brackets, may hold spaces and brackets; the start is the 22nd field of all.
        return float(Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19])
    except (OSError, IndexError):
        return psutil.Process(pid).create_time()


def is_alive(pid: int, started: float) -> bool:
    """Whether the process of this number is still the one that was `born` at `started`, and not merely unburied."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE and abs(start_time(pid) - started) < 1.0
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # it may not be looked at: then it lives
        return True
