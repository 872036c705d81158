"""Who carries out runs: this machine, one after another or several at a time."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from flowerml.campaign.forking import Forking
from flowerml.campaign.jobs import Ended, Job
from flowerml.console import warn
from flowerml.errors import RunFailed

_ZYGOTES = 5  # that may die before the runner gives up: something kills them


class Executor(Protocol):
    """Carries out jobs, each in a process of its own."""

    @property
    def room(self) -> int:
        """How many more jobs may be started now."""
        ...

    @property
    def running(self) -> tuple[str, ...]:
        """The names of the jobs that were started and have not ended."""
        ...

    def start(self, job: Job) -> None:
        """Begin a job. Raises RunFailed where nothing can be started any more."""
        ...

    def poll(self, seconds: float) -> list[Ended]:
        """Jobs that have ended since the last call; waits up to so many seconds for the first."""
        ...

    def stop(self, name: str) -> None:
        """Ask a job to stop, with a checkpoint; asked again, at once."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class Local:
    """This machine. Each of `parallel` places has a share of its GPUs, or of its cores where there is none."""

    def __init__(self, parallel: int) -> None:
        self._forking = Forking()
        self._ready = False
        self._died = 0
        self._free = list(range(parallel))
        self._places: dict[str, int] = {}
        self._parallel = parallel
        self._gpus = visible_gpus()

    @property
    def room(self) -> int:
        """Places that are free."""
        return len(self._free)

    @property
    def running(self) -> tuple[str, ...]:
        """Jobs that have not ended."""
        return tuple(self._places)

    def start(self, job: Job) -> None:
        """Begin a job at a free place. Raises RunFailed."""
        self._ensure_ready()
        place = self._free.pop(0)
        self._places[job.name] = place
        self._forking.start(replace(job, environment={**job.environment, **self._devices(place)}, threads=self._threads()))

    def poll(self, seconds: float) -> list[Ended]:
        """As the protocol has it."""
        ended = self._forking.poll(seconds)
        for one in ended:
            self._free.append(self._places.pop(one.name))
            self._free.sort()
        return ended

    def stop(self, name: str) -> None:
        """As the protocol has it."""
        self._forking.stop(name)

    def close(self) -> None:
        """What still runs is asked to stop."""
        self._forking.close()
        self._forking.wait(60.0)

    def _ensure_ready(self) -> None:
        if self._forking.dead and self._ready:
            self._died += 1
            if self._died >= _ZYGOTES:
                raise RunFailed(f"the process that starts the runs died {self._died} times: something kills it (memory?)")
            warn("the process that starts the runs died: another one takes its place")
            self._forking = Forking()
        self._forking.wait_ready()
        self._ready = True

    def _devices(self, place: int) -> dict[str, str]:
        return {"CUDA_VISIBLE_DEVICES": self._gpus[place % len(self._gpus)]} if self._gpus and self._parallel > 1 else {}

    def _threads(self) -> int | None:
        """A share of the cores, where several trainings compute on them and nobody has said otherwise."""
        if self._gpus or self._parallel == 1 or "OMP_NUM_THREADS" in os.environ:
            return None
        return max(1, cores() // self._parallel)


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> Sequence[str]:
    """The names by which CUDA_VISIBLE_DEVICES knows this machine's GPUs, asked without touching them: CUDA does not survive a fork."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        done = subprocess.run([tool, "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip().isdigit()] if done.returncode == 0 else []
