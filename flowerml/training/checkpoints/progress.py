"""Training position, and the interval at which checkpoints are saved."""

import time
from dataclasses import dataclass, field
from typing import Any

import torch

StateDict = dict[str, Any]  # plain tensors and values: see TrainState.state_dict


@dataclass(frozen=True, order=True)
class Progress:
    """Training position: completed epochs plus steps into the next. Positions are ordered."""

    epochs: int
    steps: int

    def __str__(self) -> str:
        return f"after step {self.steps} of epoch {self.epochs + 1}" if self.steps else f"after epoch {self.epochs}"


@dataclass
class CheckpointInterval:
    """When a checkpoint is due within an epoch: every N steps of the run, or N minutes after the last; 0 is never."""

    every_steps: int
    every_minutes: float
    _last_save: float = field(default_factory=time.monotonic)

    def is_due(self, steps: int) -> bool:
        """Whether a checkpoint is due after `steps` steps of the run."""
        by_steps = self.every_steps > 0 and steps % self.every_steps == 0
        return by_steps or 0 < self.every_minutes * 60 <= time.monotonic() - self._last_save

    def restart(self) -> None:
        """Restart the interval: a checkpoint was saved just now."""
        self._last_save = time.monotonic()


def copy_to_cpu(value: Any) -> Any:  # noqa: ANN401 - nested plain values and tensors
    """Deep copy of nested plain values with all tensors on the CPU. Sync point: the copies wait for the GPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {name: copy_to_cpu(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copy_to_cpu(part) for part in value)
    return value
