"""Identify a process beyond its pid, which is reused and means nothing on another machine or in a container."""

import os
from pathlib import Path

import psutil


def machine() -> str:
    """The boot id and, on Linux, the pid namespace in which this process's pids are valid; "" where not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 - no path
    except OSError:
        return ""


def start_time(pid: int) -> float:
    """When a process was started. Raises psutil.Error.

    On Linux in clock ticks since boot, as the wall clock may be set meanwhile; else in seconds since 1970.
    """
    try:
        # The program name, in brackets, may hold spaces and brackets; the start time is field 22.
        return float(Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19])
    except (OSError, IndexError):
        return psutil.Process(pid).create_time()


def is_alive(pid: int, started: float) -> bool:
    """Whether the process with this pid is the one that was started at `started`, and not a zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE and abs(start_time(pid) - started) < 1.0
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # no permission to look at it: then it is alive
        return True
