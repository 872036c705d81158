"""A moving average of the weights whose memory fits the run's length."""

import torch
from timm.utils import ModelEmaV3
from torch import nn

MEMORY = 0.1  # the average looks back over about this share of the run's steps
_SLOWEST = 0.9999


def decay_for(total_steps: int) -> float:
    """The decay whose memory, 1 / (1 - decay), is a tenth of the run: e^-10 of the starting weights is left at the end.

    A fixed 0.9998 would keep 83 % of the starting weights after 900 steps.
    """
    return min(_SLOWEST, 1 - 1 / max(1.0, MEMORY * total_steps)) if total_steps > 1 / MEMORY else 0.0


class EMA:
    """The average of a model's weights and buffers, updated once per optimiser step; warm-up keeps early steps from
    weighing long.

    timm's ModelEmaV3 does the arithmetic. `updates` is its counter, which a resumed run must restore.
    """

    def __init__(self, model: nn.Module, total_steps: int) -> None:
        self.decay = decay_for(total_steps)
        self._average = ModelEmaV3(model, decay=self.decay)
        self._average.module.requires_grad_(
            True
        )  # evaluated without a graph anyway, and faster so: see Classifier.set_frozen
        self.updates = 0

    @property
    def module(self) -> nn.Module:
        """The averaged model, in evaluation mode."""
        return self._average.module

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take the weights after one optimiser step."""
        # Early on, (1 + n) / (10 + n) is the shorter memory: the start fades at once. Tensorflow's moving average has
        # the same rule.
        self._average.decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self._average.update(model)
        self.updates += 1
