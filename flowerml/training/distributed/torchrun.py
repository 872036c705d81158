"""This process's place among those of a distributed training, as torchrun's environment variables say it."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Torchrun:
    """Rank in the whole training and on this host, and the number of processes of both."""

    rank: int
    local_rank: int
    world: int
    local_world: int

    @classmethod
    def from_environment(cls) -> "Torchrun":
        """The place that the environment variables say."""
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
        return cls(*(int(os.environ[name]) for name in names))


def torchrun() -> Torchrun | None:
    """This process's place where torchrun has started it, else None."""
    return Torchrun.from_environment() if "TORCHELASTIC_RUN_ID" in os.environ else None
