"""Exponential moving average (EMA) of the weights, its decay scaled to the length of the run."""

import torch
from timm.utils import ModelEmaV3
from torch import nn

WINDOW = 0.1  # the average covers about this share of the run's steps
_MAX_DECAY = 0.9999


def ema_decay(total_steps: int) -> float:
    """The decay whose window, 1 / (1 - decay), is a tenth of the run: e^-10 of the initial weights is left at the end.

    A fixed 0.9998 would keep 83 % of the initial weights after 900 steps.
    """
    return min(_MAX_DECAY, 1 - 1 / max(1.0, WINDOW * total_steps)) if total_steps > 1 / WINDOW else 0.0


class EMA:
    """Moving average of a model's weights and buffers, updated once per optimizer step, with a warm-up of the decay.

    The arithmetic is timm's ModelEmaV3. `updates` counts the updates; a resumed run must restore it.
    """

    def __init__(self, model: nn.Module, total_steps: int) -> None:
        self.decay = ema_decay(total_steps)
        self._average = ModelEmaV3(model, decay=self.decay)
        # It is evaluated without a graph anyway, and faster with the flag set: see Network.set_frozen.
        self._average.module.requires_grad_(True)
        self.updates = 0

    def set_total_steps(self, total_steps: int) -> None:
        """Scale the decay to another length of the run, for the updates to come."""
        self.decay = ema_decay(total_steps)

    @property
    def module(self) -> nn.Module:
        """The averaged model, in evaluation mode."""
        return self._average.module

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Average in the weights after one optimizer step."""
        # (1 + n) / (10 + n), TensorFlow's ExponentialMovingAverage: early on a shorter window, so that the initial
        # weights fade at once.
        self._average.decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self._average.update(model)
        self.updates += 1
