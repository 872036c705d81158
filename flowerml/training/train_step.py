"""One optimiser step: mixed precision, accumulation, smaller parts where memory runs out, clipping, a stop at what is
not finite.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from flowerml.data.balance import Balance
from flowerml.data.inputs import Inputs, batch_size_of, chunk
from flowerml.errors import RunFailed
from flowerml.models.memory import give_back, out_of_memory
from flowerml.settings import Settings
from flowerml.training.device import autocast_dtype
from flowerml.training.losses import example_losses

ExampleLosses = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # logits (N, C), targets (N,) or (N, C) -> (N,)


class NotFinite(RunFailed):
    """The loss or the gradient is NaN or infinite; the message names epoch, step, rates and pictures."""


@dataclass
class TrainStep:
    """Takes optimiser steps on batches. `model` may be compiled; `parameters` are those to clip.

    `dtype` is the autocast type or None; a batch is split into `accumulate` parts, which double when memory runs out:
    the batch, its loss and its gradient stay the whole one's. `on_memory` hears of it in words.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    parameters: list[nn.Parameter]
    device: torch.device
    dtype: torch.dtype | None
    accumulate: int
    grad_clip: float
    losses: ExampleLosses
    on_memory: Callable[[str], None]

    def __post_init__(self) -> None:
        # fp16's range is small: gradients are scaled up before, and steps with an overflow are left out, which is no
        # error.
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)

    def step(self, inputs: Inputs, targets: torch.Tensor, seed: int, context: str) -> tuple[float, float]:
        """One step on a whole batch. Returns the batch's mean loss and the gradient's norm before clipping.

        `seed` keys dropout and stochastic depth, for every try anew; `where` (epoch, step, rates, pictures) is for
        messages.

        Raises:
            NotFinite: before the weights are touched.
            RunFailed: memory runs out with one picture at a time.
        """
        total = self._backward(inputs, targets, seed, context)
        mean = total.item()  # a sync point: the price of stopping before a bad step instead of after it
        if not math.isfinite(mean):
            raise NotFinite(f"the loss is {mean} at {context}. Lower the learning rate, or look at these pictures")
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.grad_clip or math.inf).item()
        if not math.isfinite(norm) and not self.scaler.is_enabled():
            raise NotFinite(
                f"the gradient's norm is {norm} at {context}. Lower the learning rate, or look at these pictures"
            )
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return mean, norm

    def _backward(self, inputs: Inputs, targets: torch.Tensor, seed: int, context: str) -> torch.Tensor:
        """Gradients of the batch's mean loss, which is returned; with smaller parts for as long as memory runs out."""
        # A try that fails may have moved batch-norm statistics already; they are few and small.
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        while True:
            try:
                return self._parts(inputs, targets, seed)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                self._halve(batch_size_of(inputs), context)
            give_back()
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)

    def _parts(self, inputs: Inputs, targets: torch.Tensor, seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for part, wanted in zip(chunk(inputs, self.accumulate), targets.chunk(self.accumulate), strict=True):
            with torch.autocast(self.device.type, dtype=self.dtype or torch.bfloat16, enabled=self.dtype is not None):
                logits = self.model(part)
            loss = self.losses(logits, wanted).sum() / len(targets)
            self.scaler.scale(loss).backward()
            total += loss.detach()
        return total

    def _halve(self, batch: int, context: str) -> None:
        """Twice as many parts from now on."""
        before = math.ceil(batch / self.accumulate)
        if before == 1:
            raise RunFailed(
                f"memory ran out with one picture at a time, at {context}. Take a smaller model or --img-size, freeze the"
                " backbone for longer, or stop what else uses the memory"
            ) from None
        self.accumulate *= 2
        after = math.ceil(batch / self.accumulate)
        self.on_memory(
            f"memory ran out with {before} pictures at a time ({context.split(', pictures')[0]}): going on with {after}"
        )


def make_train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: Settings,
    balance: Balance,
    device: torch.device,
    on_memory: Callable[[str], None],
) -> TrainStep:
    """The stepper that the settings ask for: `model` compiled or not, all its weights clipped, its losses balanced."""
    return TrainStep(
        model=torch.compile(model) if settings.compile else model,  # type: ignore[arg-type] # a callable module either way
        optimizer=optimizer,
        parameters=list(model.parameters()),
        device=device,
        dtype=autocast_dtype(device, amp=settings.amp),
        accumulate=settings.accumulate,
        grad_clip=settings.grad_clip,
        losses=partial(
            example_losses,
            smoothing=settings.label_smoothing,
            class_weights=_tensor(balance.weights, device),
            focal_gamma=settings.focal_gamma,
            logit_offsets=_tensor(balance.logit_offsets, device),
        ),
        on_memory=on_memory,
    )


def _tensor(values: tuple[float, ...] | None, device: torch.device) -> torch.Tensor | None:
    return None if values is None else torch.tensor(values, device=device)
