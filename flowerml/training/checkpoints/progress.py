"""How far a training has come, and when its state is to be kept."""

import time
from dataclasses import dataclass, field
from typing import Any

import torch

StateDict = dict[str, Any]  # a state as plain tensors and values: see `state`


@dataclass(frozen=True, order=True)
class Progress:
    """`epochs` whole epochs are done, and `steps` steps of the next one."""

    epochs: int
    steps: int

    def __str__(self) -> str:
        return f"after step {self.steps} of epoch {self.epochs + 1}" if self.steps else f"after epoch {self.epochs}"


@dataclass
class CheckpointInterval:
    """When a state is due within an epoch: every so many steps of the run, or minutes since the last one; 0 is never."""

    every_steps: int
    every_minutes: float
    _since: float = field(default_factory=time.monotonic)

    def due(self, steps: int) -> bool:
        """Whether to keep the state after `steps` steps of the run."""
        by_steps = self.every_steps > 0 and steps % self.every_steps == 0
        return by_steps or 0 < self.every_minutes * 60 <= time.monotonic() - self._since

    def restart(self) -> None:
        """A state has been kept just now."""
        self._since = time.monotonic()


def copy_to_cpu(value: Any) -> Any:  # noqa: ANN401 - a nest of plain values and tensors
    """A copy of plain values whose tensors are copies too, on the CPU: what it was copied from may go on changing."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {name: copy_to_cpu(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copy_to_cpu(part) for part in value)
    return value
