"""The protocol of executors, and the one for this machine."""

from typing import Protocol

from flowerml.campaign.execution.job import RUN_JOB, RunJob
from flowerml.errors import UserError
from flowerml.forkserver.client import ForkClient
from flowerml.forkserver.job import Job, JobResult
from flowerml.runs.lifecycle.device_share import device_share, visible_gpus


class Executor(Protocol):
    """Runs jobs, each in a process of its own."""

    @property
    def free_slots(self) -> int:
        """How many more jobs may be started now."""
        ...

    @property
    def running(self) -> tuple[str, ...]:
        """The names of the jobs that were started and have not ended."""
        ...

    def start(self, job: RunJob) -> None:
        """Start a job. Raises RunFailed where no job can be started any more."""
        ...

    def poll(self, seconds: float) -> list[JobResult]:
        """Results of the jobs that have ended since the last call; waits up to so many seconds for the first."""
        ...

    def stop(self, name: str) -> None:
        """Stop a job: the first time with a checkpoint, the second time at once."""
        ...

    def close(self) -> None:
        """Release everything; running jobs are asked to stop."""
        ...


class LocalExecutor:
    """This machine. Each of `parallel` slots has a share of its GPUs, or of its cores where there is none.

    A run trains in `gpus_per_run` processes.

    Raises:
        UserError: the machine has GPUs, and fewer than the slots need.
    """

    def __init__(self, parallel: int, gpus_per_run: int = 1) -> None:
        self._gpus, self._gpus_per_run = visible_gpus(), gpus_per_run
        needed = parallel * gpus_per_run
        if gpus_per_run > 1 and 0 < len(self._gpus) < needed:
            raise UserError(
                f"--parallel {parallel} with --gpus-per-run {gpus_per_run} needs {needed} GPUs, and this machine has"
                f" {len(self._gpus)}: lower one of the two"
            )
        self._fork_client = ForkClient(RUN_JOB)
        self._free = list(range(parallel))
        self._slots: dict[str, int] = {}  # by job name
        self._parallel = parallel

    @property
    def free_slots(self) -> int:
        """As the protocol has it."""
        return len(self._free)

    @property
    def running(self) -> tuple[str, ...]:
        """As the protocol has it."""
        return tuple(self._slots)

    def start(self, job: RunJob) -> None:
        """Start a job in a free slot. Raises RunFailed."""
        self._fork_client.wait_ready()
        slot = self._slots[job.name] = self._free.pop(0)
        share = device_share(slot, self._parallel, self._gpus, self._gpus_per_run)
        job = job.on_gpus(self._gpus_per_run)
        self._fork_client.start(Job(job.name, RUN_JOB, (job,), job.log, share.environment, share.threads))

    def poll(self, seconds: float) -> list[JobResult]:
        """As the protocol has it."""
        results = self._fork_client.poll(seconds)
        for result in results:
            self._free.append(self._slots.pop(result.name))
            self._free.sort()
        return results

    def stop(self, name: str) -> None:
        """As the protocol has it."""
        self._fork_client.stop(name)

    def close(self) -> None:
        """As the protocol has it."""
        self._fork_client.close()
