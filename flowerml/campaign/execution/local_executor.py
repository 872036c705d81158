"""Who carries out runs: this machine, one after another or several at a time."""

import logging
from dataclasses import replace
from typing import Protocol

from flowerml.campaign.execution.fork_client import ForkClient
from flowerml.campaign.execution.job import Job, JobResult
from flowerml.errors import RunFailed
from flowerml.runs.lifecycle.device_share import device_share, visible_gpus

logger = logging.getLogger(__name__)

_ZYGOTES = 5  # that may die before the runner gives up: something kills them


class Executor(Protocol):
    """Carries out jobs, each in a process of its own."""

    @property
    def free_slots(self) -> int:
        """How many more jobs may be started now."""
        ...

    @property
    def running(self) -> tuple[str, ...]:
        """The names of the jobs that were started and have not ended."""
        ...

    def start(self, job: Job) -> None:
        """Begin a job. Raises RunFailed where nothing can be started any more."""
        ...

    def poll(self, seconds: float) -> list[JobResult]:
        """Jobs that have ended since the last call; waits up to so many seconds for the first."""
        ...

    def stop(self, name: str) -> None:
        """Ask a job to stop, with a checkpoint; asked again, at once."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class LocalExecutor:
    """This machine. Each of `parallel` places has a share of its GPUs, or of its cores where there is none."""

    def __init__(self, parallel: int) -> None:
        self._forking = ForkClient()
        self._ready = False
        self._died = 0
        self._free = list(range(parallel))
        self._places: dict[str, int] = {}
        self._parallel = parallel
        self._gpus = visible_gpus()

    @property
    def free_slots(self) -> int:
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
        own = device_share(place, self._parallel, self._gpus)
        self._forking.start(replace(job, environment={**job.environment, **own.environment}, threads=own.threads))

    def poll(self, seconds: float) -> list[JobResult]:
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
                raise RunFailed(
                    f"the process that starts the runs died {self._died} times: something kills it (memory?)"
                )
            logger.warning("the process that starts the runs died: another one takes its place")
            self._forking = ForkClient()
        self._forking.wait_ready()
        self._ready = True
