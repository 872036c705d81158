"""What runs in each slot of a Ray cluster; the actor itself imports neither torch nor MLflow, its fork server does."""

import os
from pathlib import Path

from flowerml.campaign.execution.job import RUN_JOB, RunJob
from flowerml.forkserver.client import ForkClient
from flowerml.forkserver.job import Job, JobResult
from flowerml.log import configure_logging


class WorkerActor:
    """A Ray actor: one job at a time, in a child of a fork server of its own."""

    def __init__(self, threads: int | None) -> None:
        configure_logging()
        self._threads = threads
        self._fork_client = ForkClient(RUN_JOB)

    def start(self, job: RunJob) -> str:
        """Start a job; returns the node's name once it runs."""
        Path(job.log).parent.mkdir(parents=True, exist_ok=True)
        self._fork_client.start(Job(job.name, RUN_JOB, (job,), job.log, threads=self._threads))
        return os.uname().nodename

    def wait(self, seconds: float) -> JobResult | None:
        """The job's result, None while it runs."""
        return next(iter(self._fork_client.poll(seconds)), None)

    def stop(self) -> None:
        """Stop the job with a checkpoint."""
        for name in self._fork_client.running:
            self._fork_client.stop(name)
