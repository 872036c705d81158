"""Restore KILLED after `mlflow run` overwrites it with FAILED (MLflow 3.17).

When the launcher is interrupted, or its command exits with a code other than 0, it marks the run it created as FAILED,
even if that run was terminated as KILLED before: its check for a terminated run compares a string with an enum's
number. So a small detached process waits until the launcher is gone and restores the status.
"""

import os
import subprocess
import sys
import time
from contextlib import suppress

import psutil

from flowerml.tracking.client.store_client import StoreClient

_TIMEOUT_S = 600.0


def restore_status_after_launcher(run_id: str, status: str) -> None:
    """Start a process that sets `run_id` to `status` once this process's parent is gone. Never blocks, never raises."""
    if os.getppid() == 1:  # the launcher is gone already
        return
    with suppress(psutil.Error, OSError):
        launcher = psutil.Process(os.getppid())
        arguments = [run_id, status, str(launcher.pid), repr(launcher.create_time())]
        subprocess.Popen(
            [sys.executable, "-m", "flowerml.tracking.environment.launcher_status", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # not reached by a Ctrl-C in the launcher's terminal
        )


def wait_and_restore(run_id: str, status: str, pid: int, create_time: float) -> None:
    """Wait for the end of the launcher process, then restore the run's status and end time."""
    client = StoreClient()
    end_time = client.get_run(run_id).info.end_time
    deadline = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline and _launcher_is_alive(pid, create_time):
        time.sleep(0.1)
    if client.get_run(run_id).info.status != status:
        client.set_terminated(run_id, status, end_time)


def _launcher_is_alive(pid: int, create_time: float) -> bool:
    try:
        process = psutil.Process(pid)
        return process.create_time() == create_time and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    wait_and_restore(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
