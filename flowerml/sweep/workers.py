"""The worker processes of a sweep: started by a fork server, watched, replaced when they die."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowerml.errors import UserError
from flowerml.forkserver.client import ForkClient
from flowerml.forkserver.job import Job, JobResult
from flowerml.runs.lifecycle.device_share import device_share

logger = logging.getLogger(__name__)

# By name: their module imports torch and MLflow.
RUN_TRIALS = "flowerml.sweep.worker:run_trials"
RUN_CONFIRMATIONS = "flowerml.sweep.worker:run_confirmations"
_LOG_LINES = 15  # of a dead worker that are printed
_SPARES = 5  # workers that replace dead ones


@dataclass
class Workers:
    """Running workers by job name; `spares` more may still be started."""

    fork_client: ForkClient
    jobs: dict[str, Job]
    spares: int = _SPARES

    def supervise(self, seconds: float) -> bool:
        """Wait up to so many seconds for a worker's end, and replace it if it died. Returns whether any is running.

        Raises:
            UserError: the user's settings can't be run.
        """
        for result in self.fork_client.poll(seconds):
            if result.exit_code == UserError.exit_code and result.last_line:
                raise UserError(result.last_line)
            if result.exit_code != 0:
                self._report_death(result)
                if self.spares:
                    self.spares -= 1
                    self.fork_client.start(self.jobs[result.name])
        return bool(self.fork_client.running)

    def _report_death(self, result: JobResult) -> None:
        log = Path(self.jobs[result.name].log)
        code = result.exit_code
        cause = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
        if result.lost:
            cause = f"was lost: {result.last_line}"
        logger.warning(
            f"{result.name} {cause}{'; another one takes its place' if self.spares else ''}. The end of {log}:"
        )
        for line in _last_lines(log):
            logger.info(f"  {line}")

    def stop(self) -> None:
        """Stop all workers and wait for them: the first time with a checkpoint, the second time at once."""
        for name in self.fork_client.running:
            self.fork_client.stop(name)
        while self.fork_client.running:
            self.fork_client.poll(1.0)


@contextmanager
def running_workers(
    fork_client: ForkClient,
    function: str,
    arguments: tuple[Any, ...],
    logs: list[Path],
    gpus: Sequence[str],
) -> Iterator[Workers]:
    """Start a worker per log, with a share of the GPUs (or cores) each, that calls `function(*arguments)`.

    The function is named as in `Job`. An exception in the body, Ctrl-C among them, stops them.
    """
    jobs = {}
    for index, log in enumerate(logs):
        share = device_share(index, len(logs), gpus)
        name = f"worker {index + 1}"
        jobs[name] = Job(name, function, arguments, str(log), share.environment, share.threads)
    workers = Workers(fork_client, jobs)
    try:
        for job in jobs.values():
            fork_client.start(job)
        yield workers
    except BaseException:
        try:
            workers.stop()
        except BaseException:  # a second signal
            workers.stop()
            raise
        raise


def last_line(log: Path) -> str:
    """The last line of a log; empty where there is none."""
    return "".join(_last_lines(log)[-1:])


def _last_lines(log: Path) -> list[str]:
    try:
        return log.read_text("utf-8", errors="replace").splitlines()[-_LOG_LINES:]
    except OSError:
        return []
