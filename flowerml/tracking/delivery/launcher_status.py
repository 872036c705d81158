"""The last word on how a run ended, after `mlflow run` has had its own.

A launcher that is interrupted, or whose command ends with another exit code than 0, marks the run it has opened as
FAILED, also where that run was closed as KILLED before (MLflow 3.17 asks whether the run has ended, and compares a text
with a number). So a small process outlives both, waits until the launcher is gone, and puts the state back.
"""

import os
import subprocess
import sys
import time
from contextlib import suppress

import psutil
from mlflow.tracking import MlflowClient

_PATIENCE_S = 600.0


def restore_status_after_launcher(run_id: str, status: str) -> None:
    """See to it that `run_id` is in state `status` once the parent of this process is gone. Returns at once; never
    raises.
    """
    if os.getppid() == 1:  # it died already
        return
    with suppress(psutil.Error, OSError):
        launcher = psutil.Process(os.getppid())
        words = [run_id, status, str(launcher.pid), repr(launcher.create_time())]
        subprocess.Popen(
            [sys.executable, "-m", "flowerml.tracking.delivery.launcher_status", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C in the launcher's terminal is not meant for it
        )


def main() -> int:
    """Wait for the launcher's end, then put the state back, with the end it had."""
    run_id, status, pid, born = sys.argv[1:]
    client = MlflowClient()
    ended = client.get_run(run_id).info.end_time
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until and _lives(int(pid), float(born)):
        time.sleep(0.1)
    if client.get_run(run_id).info.status != status:
        client.set_terminated(run_id, status, ended)
    return 0


def _lives(pid: int, born: float) -> bool:
    try:
        process = psutil.Process(pid)
        return process.create_time() == born and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    sys.exit(main())
