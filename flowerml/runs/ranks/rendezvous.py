"""How the ranks of a training find each other, and what rank 0 tells the replicas before they connect.

They meet in a store of torch.distributed: a file, for the processes that rank 0 starts on its own host, or torchrun's.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist

from flowerml.errors import RunFailed, UserError, one_line
from flowerml.runs.prepare import Prepared
from flowerml.settings import Settings, find_model
from flowerml.settings.families.recipes import check_combination
from flowerml.training.checkpoints.progress import Progress
from flowerml.training.distributed.torchrun import Torchrun

STORE_VARIABLE = "FLOWERML_RANK_STORE"
_FOREVER = timedelta(days=7)  # rank 0 may scan for long, and a replica ends with it anyway


@dataclass(frozen=True)
class ReplicaTask:
    """What replicas train: complete settings, the identity that theirs must have, and where to start."""

    settings: Mapping[str, Any]
    config_id: str
    data: str
    split: str
    start: tuple[int, int] | None

    @classmethod
    def of(cls, run: Prepared, start: Progress | None) -> "ReplicaTask":
        """The task of rank 0's run; `start` is its checkpoint's position."""
        position = None if start is None else (start.epochs, start.steps)
        settings = run.settings.model_dump(mode="json")
        return cls(settings, run.config_id, run.digests.data, run.digests.split, position)


class Rendezvous:
    """The store of one training."""

    def __init__(self, store: dist.Store, world: int) -> None:
        self.store, self.world = store, world

    def publish(self, task: ReplicaTask) -> None:
        """Tell the replicas what to train."""
        self.store.set("flowerml/task", json.dumps(asdict(task)))

    def wait_for_task(self) -> ReplicaTask:
        """What to train; waits for rank 0."""
        self.store.wait(["flowerml/task"], _FOREVER)
        values = json.loads(self.store.get("flowerml/task"))
        start = values.pop("start")
        return ReplicaTask(**values, start=start and (start[0], start[1]))

    def say_ready(self, rank: int) -> None:
        """A replica has read its data and built its model."""
        self.store.set(f"flowerml/ready/{rank}", "yes")

    def say_failed(self, rank: int, reason: str) -> None:
        """A replica can't go on."""
        self.store.set(f"flowerml/failed/{rank}", one_line(reason))

    def all_are_ready(self) -> bool:
        """Whether all replicas are."""
        return all(self.store.check([f"flowerml/ready/{rank}"]) for rank in range(1, self.world))

    def require_none_failed(self) -> None:
        """Raise RunFailed with the reason that a replica gave."""
        for rank in range(1, self.world):
            if self.store.check([f"flowerml/failed/{rank}"]):
                reason = self.store.get(f"flowerml/failed/{rank}").decode()
                raise RunFailed(f"process {rank + 1} of {self.world} of this training: {reason}")


def torchrun_rendezvous(world: int) -> Rendezvous:
    """The rendezvous of processes that torchrun has started. Raises RunFailed where its store can't be reached."""
    try:
        store, _, _ = next(dist.rendezvous("env://"))
    except (ValueError, RuntimeError) as error:
        raise RunFailed(f"the processes of torchrun can't reach each other: {error}") from error
    return Rendezvous(store, world)


def under_torchrun(settings: Settings, place: Torchrun) -> Settings:
    """The settings of a training by torchrun's processes. Raises UserError where they name a number themselves."""
    if settings.gpus not in (1, place.world):
        raise UserError(
            f"--gpus {settings.gpus}: torchrun has started {place.world} processes, and says how many there are: leave"
            " it out"
        )
    together = settings.replace(gpus=place.world)
    check_combination(together, find_model(together.model))
    return together


def file_rendezvous(path: Path, world: int) -> Rendezvous:
    """The rendezvous of processes on one host; they exchange over loopback."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    return Rendezvous(dist.FileStore(str(path), world), world)
