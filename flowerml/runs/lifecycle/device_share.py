"""How several trainings share one machine: its GPUs, or its cores where there is no GPU."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from flowerml.process.threads import usable_cores

# For libraries that start threads when they are imported: a process that forks must have none.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}


@dataclass(frozen=True)
class DeviceShare:
    """One training's environment variables, and the number of torch threads (None: torch's default)."""

    environment: dict[str, str]
    threads: int | None


def device_share(index: int, workers: int, gpus: Sequence[str], each: int = 1) -> DeviceShare:
    """The share of worker `index` (from 0) of `workers`: `each` so many GPUs; all of the machine for one worker.

    OMP_NUM_THREADS wins.
    """
    names = [gpus[(index * each + number) % len(gpus)] for number in range(each)] if gpus and workers > 1 else []
    environment = {"CUDA_VISIBLE_DEVICES": ",".join(names)} if names else {}
    if gpus or workers == 1 or "OMP_NUM_THREADS" in os.environ:
        return DeviceShare(environment, None)
    return DeviceShare(environment, max(1, usable_cores() // workers))


def visible_gpus() -> Sequence[str]:
    """This machine's GPUs by their names in CUDA_VISIBLE_DEVICES, without initialising CUDA, which can't be forked."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        done = subprocess.run(
            [tool, "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip().isdigit()] if done.returncode == 0 else []
