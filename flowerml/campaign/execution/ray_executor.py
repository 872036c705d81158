"""Runs on a Ray cluster: an actor for each place, wherever the cluster has a GPU (or a share of cores) free, each with
a zygote of its own.

The runs' folder should be on a disk that all nodes share: then a run whose node is lost goes on from its last
checkpoint on another one. Where it is not, the run restarts there, and says so. What a run says to MLflow goes from its
own node to the server.
"""

import logging
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from flowerml.campaign.execution.fork_client import ForkClient
from flowerml.campaign.execution.job import Job, JobResult
from flowerml.errors import RunFailed, UserError
from flowerml.log import configure_logging
from flowerml.runs.lifecycle.device_share import visible_gpus
from flowerml.tracking.search.campaigns import store_address

logger = logging.getLogger(__name__)

_PASSED_ON = ("MLFLOW_", "FLOWERML_", "HF_", "OMP_NUM_THREADS", "PYTHONPATH", "AWS_")
_PATHS = ("train_dir", "test_dir", "output_dir", "runs_root")
_REACH_S = 10.0
_PENDING_S = 30.0  # a new place that is not there by then: a free one does its job
_LOSSES = 20  # of places, before something is wrong that no other place mends


class WorkerActor:
    """What an actor does: one job at a time, in a fork of its own zygote."""

    def __init__(self, threads: int | None) -> None:
        configure_logging()
        self._threads = threads
        self._forking: ForkClient | None = None

    def start(self, job: dict[str, Any]) -> str:
        """Begin a job; returns the node's name once it runs."""
        if self._forking is None or self._forking.dead:
            self._forking = ForkClient()
        self._forking.wait_ready()
        made = Job.from_json({**job, "threads": self._threads})
        Path(made.log).parent.mkdir(parents=True, exist_ok=True)
        self._forking.start(made)
        return os.uname().nodename

    def wait(self, seconds: float) -> dict[str, Any] | None:
        """How the job ended, None where it goes on."""
        assert self._forking is not None
        ended = self._forking.poll(seconds)
        return (
            {"name": ended[0].name, "code": ended[0].exit_code, "said": ended[0].last_line, "lost": ended[0].lost}
            if ended
            else None
        )

    def stop(self) -> None:
        """Ask the job to stop, with a checkpoint."""
        if self._forking is not None:
            for name in self._forking.running:
                self._forking.stop(name)

    def gpus(self) -> Sequence[str]:
        """What this place has of GPUs."""
        return visible_gpus()


class RayExecutor:
    """A Ray cluster. `parallel` places; each has one GPU where the cluster has any, else an equal share of a node's
    cores.
    """

    def __init__(self, parallel: int, address: str) -> None:
        try:
            _reach(address)  # Ray itself asks for minutes
            ray.init(address=address, logging_level="warning", log_to_driver=True, ignore_reinit_error=True)
        except (OSError, ValueError, RayError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"--ray-address {address}: no Ray cluster there ({reason}): start one with `ray start --head`"
            ) from error
        self._parallel = parallel
        self._share = _share(parallel)
        self._free: list[Any] = []
        self._busy: dict[str, Any] = {}  # by the job's name: its actor
        self._answers: dict[Any, str] = {}  # by what is waited for: the job's name
        self._pending: dict[str, tuple[float, Job]] = {}  # asked for and not begun: since when
        self._losses = 0
        logger.info(
            f"Ray cluster {address}: {parallel} places of"
            f" {', '.join(f'{count:g} {what}' for what, count in self._share.items())}"
        )

    @property
    def free_slots(self) -> int:
        """Places that are free."""
        return self._parallel - len(self._busy)

    @property
    def running(self) -> tuple[str, ...]:
        """Jobs that have not ended."""
        return tuple(self._busy)

    def start(self, job: Job) -> None:
        """Begin a job at a free place, or at a new one as soon as the cluster has it. Raises RunFailed after too many
        were lost.
        """
        if self._losses >= _LOSSES:
            raise RunFailed(
                f"{self._losses} places of the Ray cluster were lost: look at its nodes (`ray status`), and start again"
            )
        self._begin(_with_whole_paths(job), self._free.pop() if self._free else self._actor())

    def _begin(self, job: Job, actor: Any) -> None:  # noqa: ANN401 - Ray's handles have no type of their own
        self._busy[job.name] = actor
        self._pending[job.name] = time.monotonic(), job
        self._answers[actor.start.remote({**job.as_json(), "work": job.kind.value})] = job.name

    def _hand_over(self) -> None:
        """Give a job whose new place does not come (its node is gone) to one that is free and holds what the new one
        waits for.
        """
        for name, (since, job) in list(self._pending.items()):
            if self._free and time.monotonic() - since > _PENDING_S:
                ray.kill(self._busy[name])
                self._answers = {answer: other for answer, other in self._answers.items() if other != name}
                self._begin(job, self._free.pop())

    def poll(self, seconds: float) -> list[JobResult]:
        """As the protocol has it. A job of a place that is gone is lost."""
        until = time.monotonic() + seconds
        ended: list[JobResult] = []
        self._hand_over()
        while not ended and (self._answers or seconds):
            left = max(0.0, until - time.monotonic())
            if not self._answers:
                time.sleep(left)
                break
            ready, _ = ray.wait(list(self._answers), timeout=left)
            if not ready:
                break
            ended += self._answer(ready[0])
        return ended

    def stop(self, name: str) -> None:
        """As the protocol has it."""
        if name in self._busy:
            self._busy[name].stop.remote()

    def close(self) -> None:
        """Let the places go; what still runs is asked to stop by their end."""
        for actor in (*self._busy.values(), *self._free):
            ray.kill(actor)
        ray.shutdown()

    def _answer(self, answered: Any) -> list[JobResult]:  # noqa: ANN401 - Ray's references have no type of their own
        name = self._answers.pop(answered)
        self._pending.pop(name, None)
        try:
            found = ray.get(answered)
        except RayError as error:
            self._losses += 1
            del self._busy[name]
            reason = str(error).strip().splitlines()[0]
            logger.warning(f"{name}: its place in the cluster is gone ({reason})")
            return [JobResult(name, -1, "its place in the cluster is gone", lost=True)]
        actor = self._busy[name]
        if not isinstance(found, dict):  # where it runs, or that it goes on
            if isinstance(found, str):
                logger.info(f"{name}: on {found}")
            self._answers[actor.wait.remote(1.0)] = name
            return []
        del self._busy[name]
        self._free.append(actor)
        return [JobResult(**found)]

    def _actor(self) -> Any:  # noqa: ANN401 - as above
        names = [name for name in os.environ if name.startswith(_PASSED_ON) and not name.startswith("MLFLOW_RUN")]
        passed = {name: os.environ[name] for name in names} | {"MLFLOW_TRACKING_URI": store_address()}
        threads = None if "GPU" in self._share or "OMP_NUM_THREADS" in passed else max(1, int(self._share["CPU"]))
        options = {"num_cpus": self._share["CPU"], "num_gpus": self._share.get("GPU", 0), "max_concurrency": 2}
        made = ray.remote(WorkerActor).options(**options, runtime_env={"env_vars": passed})
        return made.remote(threads)


def _reach(address: str) -> None:
    """Open a connection to an address with a port, and close it. Raises OSError."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()


def _with_whole_paths(job: Job) -> Job:
    """The job with paths that mean the same in another process's folder."""
    settings = {
        name: str(Path(value).absolute()) if name in _PATHS and value else value for name, value in job.settings.items()
    }
    weights = settings["weights"]
    if weights not in ("hub", "none"):
        settings["weights"] = str(Path(weights).absolute())
    source = str(Path(job.source).absolute()) if job.source else None
    return replace(job, settings=settings, source=source, log=str(Path(job.log).absolute()))


def _share(parallel: int) -> dict[str, float]:
    """What each place has. Raises RunFailed where no node can give it."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(node.get("GPU") for node in nodes):
        return {"CPU": 1.0, "GPU": 1.0}
    most = max((node.get("CPU", 0.0) for node in nodes), default=0.0)
    if most < 1:
        raise RunFailed(
            "the Ray cluster has no cores to give: start nodes with some (`ray start --address=... --num-cpus=N`)"
        )
    each = -(-parallel // max(1, len(nodes)))  # places on a node
    return {"CPU": float(max(1, int(most // each)))}
