"""Rank 0's side: start the replicas, wait until they are ready, connect; and what becomes of the run when one dies."""

import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from flowerml.errors import RunFailed, Stopped, UserError
from flowerml.process.background_thread import background_thread
from flowerml.runs.prepare import Prepared
from flowerml.runs.ranks.rendezvous import STORE_VARIABLE, Rendezvous, ReplicaTask, file_rendezvous, torchrun_rendezvous
from flowerml.training.checkpoints.progress import Progress
from flowerml.training.device import shared_threads
from flowerml.training.distributed.ranks import SINGLE, Ranks, connect, disconnect
from flowerml.training.distributed.torchrun import Torchrun

logger = logging.getLogger(__name__)

_POLL_S = 0.1
_NOTICE_S = 5.0  # until a death that another process's error speaks of is seen here
_END_S = 30.0
_AGAIN = "start it again: it goes on from its last checkpoint"


@contextmanager
def joined_ranks(
    run: Prepared, start: Progress | None, stop_reason: Callable[[], str | None], torchrun: Torchrun | None
) -> Iterator[Ranks]:
    """The group of this training, of which this process is rank 0; `SINGLE` where it trains alone.

    Raises:
        RunFailed: a replica could not start, or has died.
        Stopped: a stop was requested while the replicas started.
    """
    world = run.settings.gpus
    if world == 1:
        yield SINGLE
        return
    with tempfile.TemporaryDirectory(prefix="flowerml-ranks-") as folder, shared_threads(run.device, world):
        replicas: list[subprocess.Popen[bytes]] = []
        try:
            if torchrun is None:
                path = Path(folder) / "store"
                rendezvous = file_rendezvous(path, world)
                replicas += [_start_replica(rank, world, path, run.device) for rank in range(1, world)]
            else:
                rendezvous = torchrun_rendezvous(world)
            logger.info(f"training in {world} processes: each takes its share of every batch")
            rendezvous.publish(ReplicaTask.of(run, start))
            _wait_until_ready(rendezvous, replicas, stop_reason)
            with _death_as_error(rendezvous, replicas), _closed_connections(replicas):
                yield connect(rendezvous.store, 0, world, run.device)
            disconnect()
        except BaseException:
            if run.device.type == "cpu":  # NCCL would wait for kernels that wait for a dead process
                disconnect()
            raise
        finally:
            _end(replicas)


def _start_replica(rank: int, world: int, store: Path, device: torch.device) -> "subprocess.Popen[bytes]":
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, STORE_VARIABLE: store}
    environment = {**os.environ, **{name: str(value) for name, value in place.items()}}
    if device.type == "cpu":
        environment["OMP_NUM_THREADS"] = str(torch.get_num_threads())  # the share of each
    # Its stdin ends when this process does, however that ends.
    return subprocess.Popen(
        [sys.executable, "-m", "flowerml.runs.ranks.replica_process"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # signals of the terminal go to rank 0 alone, which tells when to stop
    )


def _wait_until_ready(
    rendezvous: Rendezvous, replicas: "list[subprocess.Popen[bytes]]", stop_reason: Callable[[], str | None]
) -> None:
    while not rendezvous.all_are_ready():
        if reason := stop_reason():
            raise Stopped(reason)
        rendezvous.require_none_failed()
        _require_alive(replicas, rendezvous)
        time.sleep(_POLL_S)


@contextmanager
def _death_as_error(rendezvous: Rendezvous, replicas: "list[subprocess.Popen[bytes]]") -> Iterator[None]:
    """Translate the errors that the death of a replica causes here: mostly a closed connection."""
    try:
        yield
    except (UserError, Stopped):
        raise
    except Exception as error:
        deadline = time.monotonic() + _NOTICE_S
        while time.monotonic() < deadline:
            rendezvous.require_none_failed()
            _require_alive(replicas, rendezvous)
            time.sleep(_POLL_S)
        if isinstance(error, torch.distributed.DistError) or "onnection" in str(error):
            raise RunFailed(
                f"another process of this training is gone ({str(error).splitlines()[0]}); {_AGAIN}"
            ) from error
        raise


@contextmanager
def _closed_connections(replicas: "list[subprocess.Popen[bytes]]") -> Iterator[None]:
    """Context in which a dead replica's loader processes end too: they hold its connections open, and all wait."""

    def watch(ended: threading.Event) -> None:
        while not ended.wait(_POLL_S):
            for process in replicas:
                if process.poll() not in (None, 0):
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)

    with background_thread(watch, "replicas"):
        yield


def _require_alive(replicas: "list[subprocess.Popen[bytes]]", rendezvous: Rendezvous) -> None:
    """Raise RunFailed where a replica has died."""
    for rank, process in enumerate(replicas, start=1):
        code = process.poll()
        if code is None:
            continue
        rendezvous.require_none_failed()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        raise RunFailed(f"process {rank + 1} of {len(replicas) + 1} of this training {how}; {_AGAIN}")


def _end(replicas: "list[subprocess.Popen[bytes]]") -> None:
    """Wait for the replicas, which end by themselves when they have trained, or when their stdin ends."""
    for process in replicas:
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.close()
    deadline = time.monotonic() + _END_S
    for process in replicas:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
