"""A machine that several trainings share: its GPUs, or its cores where there is none."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

# Libraries that would start threads of their own when they are imported: a process that forks must not have any.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}


@dataclass(frozen=True)
class DeviceShare:
    """What one of them is to put into its environment, and how many threads torch may have (None: as it would)."""

    environment: dict[str, str]
    threads: int | None


def device_share(place: int, places: int, gpus: Sequence[str]) -> DeviceShare:
    """The share of a place (from 0) of several. A machine's only training has all of it, and whoever has set
    OMP_NUM_THREADS is obeyed.
    """
    environment = {"CUDA_VISIBLE_DEVICES": gpus[place % len(gpus)]} if gpus and places > 1 else {}
    if gpus or places == 1 or "OMP_NUM_THREADS" in os.environ:
        return DeviceShare(environment, None)
    return DeviceShare(environment, max(1, cores() // places))


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> Sequence[str]:
    """The names by which CUDA_VISIBLE_DEVICES knows this machine's GPUs, asked without touching them: CUDA does not
    survive a fork.
    """
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
