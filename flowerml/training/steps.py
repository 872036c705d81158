"""One optimiser step: mixed precision, accumulation, clipping, and a stop at the first figure that is not finite."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from flowerml.errors import RunFailed
from flowerml.training.losses import example_losses


class NotFinite(RunFailed):
    """The loss or the gradient is NaN or infinite; the message names epoch, step, rates and pictures."""


@dataclass
class Stepper:
    """Takes optimiser steps on batches. `model` may be compiled; `parameters` are those to clip.

    `dtype` is the autocast type or None; `class_weights` (C,) or None; a batch is split into `accumulate` parts.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    parameters: list[nn.Parameter]
    device: torch.device
    dtype: torch.dtype | None
    accumulate: int
    grad_clip: float
    smoothing: float
    class_weights: torch.Tensor | None

    def __post_init__(self) -> None:
        # fp16's range is small: gradients are scaled up before, and steps with an overflow are left out, which is no error.
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)

    def step(self, inputs: torch.Tensor, targets: torch.Tensor, where: str) -> tuple[float, float]:
        """One step on a whole batch. Returns the batch's mean loss and the gradient's norm before clipping.

        Raises:
            NotFinite: before the weights are touched; `where` (epoch, step, rates, pictures) is in the message.
        """
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for part, wanted in zip(inputs.chunk(self.accumulate), targets.chunk(self.accumulate), strict=True):
            with torch.autocast(self.device.type, dtype=self.dtype or torch.bfloat16, enabled=self.dtype is not None):
                logits = self.model(part)
            loss = example_losses(logits, wanted, smoothing=self.smoothing, class_weights=self.class_weights).sum() / len(inputs)
            self.scaler.scale(loss).backward()
            total += loss.detach()
        mean = total.item()  # a sync point: the price of stopping before a bad step instead of after it
        if not math.isfinite(mean):
            raise NotFinite(f"the loss is {mean} at {where}. Lower the learning rate, or look at these pictures")
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.grad_clip or math.inf).item()
        if not math.isfinite(norm) and not self.scaler.is_enabled():
            raise NotFinite(f"the gradient's norm is {norm} at {where}. Lower the learning rate, or look at these pictures")
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return mean, norm
