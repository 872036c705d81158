"""Runs on a Ray cluster: an actor per slot, wherever the cluster has a GPU (or a share of cores) free.

The runs' folder should be on a disk that all nodes share: then a run whose node is lost resumes from its last
checkpoint on another one. Elsewhere it restarts there, and says so. Each run writes to MLflow from its own node.
"""

import logging
import os
import socket
import sys
import time
from contextlib import ExitStack, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from flowerml.campaign.execution.job import RunJob
from flowerml.campaign.execution.ray_actor import WorkerActor
from flowerml.errors import RunFailed, UserError
from flowerml.forkserver.job import JobResult
from flowerml.settings.addresses import is_remote
from flowerml.tracking.search.campaigns import store_address

logger = logging.getLogger(__name__)

_FORWARDED_VARIABLES = (
    "MLFLOW_",
    "FLOWERML_",
    "HF_",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
    "PYTHONPATH",
    "AWS_",
)  # prefixes
_PATHS = ("train_dir", "test_dir", "output_dir", "runs_root")
_CONNECT_S = 10.0
_PENDING_S = 30.0  # a job whose new actor has not come up by then goes to a free one
_MAX_LOSSES = 20  # of actors, until something is taken to be wrong that no other actor mends


class RayExecutor:
    """A Ray cluster with `parallel` slots: `gpus_per_run` GPUs each where the cluster has any, else a share of a node's
    cores.

    All slots are requested at once: the actors' imports, which take longer than some runs, go on during the first run.

    Raises:
        UserError: no cluster answers at the address; RunFailed: no node has a core to give.
    """

    def __init__(self, parallel: int, address: str, gpus_per_run: int = 1) -> None:
        # Ray prints what its nodes say to stdout, from a thread; that is for the result (--json).
        self._stdout = ExitStack()
        self._stdout.enter_context(redirect_stdout(sys.stderr))
        try:
            _check_reachable(address)  # Ray itself tries for minutes
            ray.init(address=address, logging_level="warning", log_to_driver=True, ignore_reinit_error=True)
        except (OSError, ValueError, RayError) as error:
            self._stdout.close()
            reason = str(error).splitlines()[0]
            raise UserError(
                f"--ray-address {address}: no Ray cluster there ({reason}): start one with `ray start --head`"
            ) from error
        self._parallel, self._gpus_per_run = parallel, gpus_per_run
        self._resources = _resources_per_slot(parallel, gpus_per_run)
        self._busy: dict[str, Any] = {}  # the actor by job name
        self._futures: dict[Any, str] = {}  # the job name by Ray reference
        self._pending: dict[str, tuple[float, RunJob]] = {}  # started and not running yet: since when
        self._losses = 0
        self._free = [self._create_actor() for _ in range(parallel)]
        logger.info(
            f"Ray cluster {address}: {parallel} places of"
            f" {', '.join(f'{count:g} {resource}' for resource, count in self._resources.items())}"
        )

    @property
    def free_slots(self) -> int:
        """As the protocol has it."""
        return self._parallel - len(self._busy)

    @property
    def running(self) -> tuple[str, ...]:
        """As the protocol has it."""
        return tuple(self._busy)

    def start(self, job: RunJob) -> None:
        """Start a job on a free actor, or a new one once the cluster has room. Raises RunFailed after many losses."""
        if self._losses >= _MAX_LOSSES:
            raise RunFailed(
                f"{self._losses} places of the Ray cluster were lost: look at its nodes (`ray status`), and start again"
            )
        self._submit(
            _with_absolute_paths(job.on_gpus(self._gpus_per_run)),
            self._free.pop() if self._free else self._create_actor(),
        )

    def _submit(self, job: RunJob, actor: Any) -> None:  # noqa: ANN401 - Ray's handles have no type of their own
        self._busy[job.name] = actor
        self._pending[job.name] = time.monotonic(), job
        self._futures[actor.start.remote(job)] = job.name

    def _reassign_pending(self) -> None:
        """Give jobs whose new actor does not come up (its node is gone) to free actors, which hold its resources."""
        for name, (since, job) in list(self._pending.items()):
            if self._free and time.monotonic() - since > _PENDING_S:
                ray.kill(self._busy[name])
                self._futures = {future: other for future, other in self._futures.items() if other != name}
                self._submit(job, self._free.pop())

    def poll(self, seconds: float) -> list[JobResult]:
        """As the protocol has it. A job whose actor died is lost."""
        deadline = time.monotonic() + seconds
        results: list[JobResult] = []
        self._reassign_pending()
        while not results and (self._futures or seconds):
            remaining = max(0.0, deadline - time.monotonic())
            if not self._futures:
                time.sleep(remaining)
                break
            ready, _ = ray.wait(list(self._futures), timeout=remaining)
            if not ready:
                break
            results += self._resolve(ready[0])
        return results

    def stop(self, name: str) -> None:
        """As the protocol has it."""
        if name in self._busy:
            self._busy[name].stop.remote()

    def close(self) -> None:
        """Kill the actors, whose death stops the jobs that still run."""
        for actor in (*self._busy.values(), *self._free):
            ray.kill(actor)
        ray.shutdown()
        self._stdout.close()

    def _resolve(self, future: Any) -> list[JobResult]:  # noqa: ANN401 - Ray's references have no type of their own
        name = self._futures.pop(future)
        self._pending.pop(name, None)
        try:
            answer = ray.get(future)
        except RayError as error:
            self._losses += 1
            del self._busy[name]
            reason = str(error).strip().splitlines()[0]
            logger.warning(f"{name}: its place in the cluster is gone ({reason})")
            return [JobResult(name, -1, "its place in the cluster is gone", lost=True)]
        actor = self._busy[name]
        if not isinstance(answer, JobResult):  # its node, or None while it runs
            if isinstance(answer, str):
                logger.info(f"{name}: on {answer}")
            self._futures[actor.wait.remote(1.0)] = name
            return []
        del self._busy[name]
        self._free.append(actor)
        return [answer]

    def _create_actor(self) -> Any:  # noqa: ANN401 - as above
        names = [n for n in os.environ if n.startswith(_FORWARDED_VARIABLES) and not n.startswith("MLFLOW_RUN")]
        variables = {name: os.environ[name] for name in names} | {"MLFLOW_TRACKING_URI": store_address()}
        cpus, gpus = self._resources["CPU"], self._resources.get("GPU", 0)
        threads = None if gpus or "OMP_NUM_THREADS" in variables else max(1, int(cpus))
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_concurrency": 2}
        return ray.remote(WorkerActor).options(**options, runtime_env={"env_vars": variables}).remote(threads)


def _check_reachable(address: str) -> None:
    """Open a connection to an address that has a port, and close it. Raises OSError."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()


def _with_absolute_paths(job: RunJob) -> RunJob:
    """The job with paths that are the same in another working directory."""
    settings = {
        name: str(Path(value).absolute()) if name in _PATHS and value and not is_remote(value) else value
        for name, value in job.settings.items()
    }
    weights = settings["weights"]
    if weights not in ("hub", "none"):
        settings["weights"] = str(Path(weights).absolute())
    source = str(Path(job.source).absolute()) if job.source else None
    return replace(job, settings=settings, source=source, log=str(Path(job.log).absolute()))


def _resources_per_slot(parallel: int, gpus_per_run: int) -> dict[str, float]:
    """Ray resources of each slot. Raises RunFailed where no node can give them."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if most_gpus := max((node.get("GPU", 0.0) for node in nodes), default=0.0):
        if most_gpus < gpus_per_run:
            raise RunFailed(
                f"--gpus-per-run {gpus_per_run}: no node of the Ray cluster has more than {most_gpus:g} GPUs"
            )
        return {"CPU": float(gpus_per_run), "GPU": float(gpus_per_run)}
    most = max((node.get("CPU", 0.0) for node in nodes), default=0.0)
    if most < 1:
        raise RunFailed(
            "the Ray cluster has no cores to give: start nodes with some (`ray start --address=... --num-cpus=N`)"
        )
    slots = -(-parallel // max(1, len(nodes)))  # on a node
    return {"CPU": float(max(1, int(most // slots)))}
