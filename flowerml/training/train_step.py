"""One optimizer step: mixed precision, gradient accumulation, out-of-memory retry, SAM, clipping, non-finite checks.

On a GPU nothing in a step waits for it. Loss and norm are read when the next step is queued, and a step whose loss or
norm is not finite is skipped on the device, as a gradient scaler skips one whose gradients overflow.
"""

import logging
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from flowerml.data.balance import Balance
from flowerml.data.inputs import Inputs, batch_size_of, part_sizes, split
from flowerml.data.workers.errors import is_worker_death
from flowerml.errors import RunFailed
from flowerml.models.classifier import Network
from flowerml.models.resources.memory import free_memory, is_out_of_memory
from flowerml.settings import Settings
from flowerml.training.device import autocast_dtype
from flowerml.training.distributed.ranks import SINGLE, Ranks
from flowerml.training.lora import LowRankUpdates
from flowerml.training.losses import example_losses
from flowerml.training.optimizer import moved_uphill
from flowerml.training.performance.compilation import compiled, warn_of_failure

logger = logging.getLogger(__name__)

ExampleLosses = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # logits (N, C), targets (N,) or (N, C) -> (N,)


class PendingStep:
    """A step that was queued: its loss and its gradient's norm, which the device may still be computing."""

    def __init__(self, loss: torch.Tensor, norm: torch.Tensor, context: str, *, norm_may_overflow: bool) -> None:
        self._numbers = torch.stack([loss, norm.to(loss)])
        self._computed: torch.cuda.Event | None = None
        self._context, self._norm_may_overflow = context, norm_may_overflow
        if loss.device.type == "cuda":
            on_device = self._numbers
            self._numbers = torch.empty(2, pin_memory=True).copy_(on_device, non_blocking=True)
            self._computed = torch.cuda.Event()
            self._computed.record()

    def read(self) -> tuple[float, float]:
        """The mean loss of the batch and the gradient's norm before clipping; waits until they are computed.

        Raises:
            NotFinite: one of them is not finite. The weights are those before the step.
        """
        if self._computed is not None:
            self._computed.synchronize()
        loss, norm = self._numbers.tolist()
        require_finite_loss(loss, self._context)
        if not self._norm_may_overflow:
            require_finite_norm(norm, self._context)
        return loss, norm


class NotFinite(RunFailed):
    """The loss or the gradient is NaN or infinite; the message names epoch, step, learning rates and images."""


def require_finite_loss(loss: float, context: str) -> None:
    """Raise NotFinite for a loss that is NaN or infinite."""
    if not math.isfinite(loss):
        raise NotFinite(f"the loss is {loss} at {context}. Lower the learning rate, or look at these pictures")


def require_finite_norm(norm: float, context: str) -> None:
    """Raise NotFinite for a gradient whose norm is NaN or infinite."""
    if not math.isfinite(norm):
        raise NotFinite(
            f"the gradient's norm is {norm} at {context}. Lower the learning rate, or look at these pictures"
        )


@dataclass
class TrainStep:
    """Takes optimizer steps on batches. `model` may be compiled; `parameters` are those to clip.

    `dtype` is the autocast type or None. A batch is split into `accumulate` micro-batches, twice as many when memory
    runs out; loss and gradient stay those of the whole batch. `on_memory` gets a message each time. No micro-batch has
    fewer than `smallest` images: a BatchNorm can refuse a single one. Where a compiled `model` fails, `uncompiled`
    takes its place, with the same result. `deferred`: the CPU does not wait for a step; the optimizer must be a fused
    one, which can skip a step on the device. With several `ranks` this process gets its share of each batch, loss and
    gradient are those of the whole batch, and `replicate` must be called before the first step. `sam_rho` above 0 is
    sharpness-aware minimisation (SAM): two passes, of which the first gives the loss, the second the gradient. `lora`
    are the factors that are among `parameters`, applied to the model after each step.
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
    smallest: int = 1
    uncompiled: nn.Module | None = None
    deferred: bool = False
    ranks: Ranks = SINGLE
    sam_rho: float = 0.0
    lora: LowRankUpdates | None = None

    def __post_init__(self) -> None:
        # fp16 has a small range: the loss is scaled up, and steps whose gradients overflow are skipped (no error).
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self._replica: nn.Module | None = None

    def replicate(self, model: Network) -> None:
        """Average gradients of `model` over ranks, of its head alone while it is frozen. All ranks must call it."""
        self._replica = self.ranks.replica(model, self._forward_here)

    def step(self, inputs: Inputs, targets: torch.Tensor, seed: int, context: str) -> tuple[float, float]:
        """`queue`, and wait for its mean loss and the gradient's norm before clipping. Raises as these two do."""
        return self.queue(inputs, targets, seed, context).read()

    def queue(
        self, inputs: Inputs, targets: torch.Tensor, seed: int, context: str, count: int | None = None
    ) -> PendingStep:
        """One step on a batch, of which `count` examples are with all ranks together (default: those given here).

        `seed` seeds dropout and stochastic depth, again for every retry; `context` (epoch, step, rates, images) is for
        messages.

        Raises:
            NotFinite: loss or gradient; raised before the weights are changed. A deferred step skips that change on the
                device, and its `PendingStep.read` raises.
            RunFailed: memory runs out with the fewest images at a time.
        """
        # forward and backward
        loss = self._forward_backward(inputs, targets, count or len(targets), seed, context)
        if not self.deferred:
            require_finite_loss(loss.item(), context)

        # SAM: the gradient at nearby weights with a higher loss, in place of the one here
        if self.sam_rho:
            self._take_gradient_uphill(inputs, targets, count or len(targets), seed, context)

        # unscale and clip
        if self.deferred and self.scaler.is_enabled():
            self._pass_on_to_gradient(loss)
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.grad_clip or math.inf)
        if not self.deferred and not self.scaler.is_enabled():
            require_finite_norm(norm.item(), context)

        # optimizer step
        if self.deferred and not self.scaler.is_enabled():
            self._step_if_finite(loss, norm)
        else:  # with fp16 the scaler skips a step whose gradients are not finite
            self.scaler.step(self.optimizer)
            self.scaler.update()
        if self.lora is not None:
            self.lora.apply_step()
        return PendingStep(loss, norm, context, norm_may_overflow=self.scaler.is_enabled())

    def _take_gradient_uphill(self, inputs: Inputs, targets: torch.Tensor, count: int, seed: int, context: str) -> None:
        """Replace the gradient by that of the same batch, with the same dropout, at weights `sam_rho` uphill.

        A gradient that is not finite moves the weights to NaN, so that the one of the second pass is not finite either.
        """
        # The first pass has updated the batch-norm statistics. They belong to the weights that are kept and evaluated,
        # and activations of the moved weights, which are thrown away, would shift them.
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        with moved_uphill(self.parameters, self.sam_rho):
            self._forward_backward(inputs, targets, count, seed, context)
        _restore(buffers)

    def _pass_on_to_gradient(self, loss: torch.Tensor) -> None:
        """Make a gradient NaN where the loss is not finite, for the scaler looks at gradients only."""
        gradient = next(parameter.grad for parameter in self.parameters if parameter.grad is not None)
        gradient.add_(loss * 0)

    def _step_if_finite(self, loss: torch.Tensor, norm: torch.Tensor) -> None:
        """A step of a fused optimizer, skipped on the device where `found_inf` is 1, as with `GradScaler`."""
        optimizer: Any = self.optimizer
        optimizer.grad_scale = None
        optimizer.found_inf = 1.0 - (loss.isfinite() & norm.isfinite()).float()
        try:
            optimizer.step()
        finally:
            del optimizer.grad_scale, optimizer.found_inf

    def compile(self) -> bool:
        """Use the compiled model from now on. Returns False, after a warning, where that can't be prepared."""
        faster = compiled(self.model)
        if faster is None:
            return False
        self.model, self.uncompiled = faster, self.model
        return True

    def _forward_backward(
        self, inputs: Inputs, targets: torch.Tensor, count: int, seed: int, context: str
    ) -> torch.Tensor:
        """Compute the gradient of the batch's mean loss and return that loss; halve the micro-batches on OOM."""
        # A failed attempt may update batch-norm statistics. This copies all buffers in every step; they are small.
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        while True:
            try:
                return self.ranks.sum(self._accumulate_gradients(inputs, targets, count, seed))
            except Exception as error:
                if is_out_of_memory(error):
                    self._halve_micro_batch(batch_size_of(inputs), context)
                elif self.uncompiled is None or is_worker_death(error):
                    raise
                else:  # without a compiler, for example; what is no fault of compilation is raised again without it
                    warn_of_failure(error)
                    self.model, self.uncompiled = self.uncompiled, None
            free_memory()
            _restore(buffers)

    def _accumulate_gradients(self, inputs: Inputs, targets: torch.Tensor, count: int, seed: int) -> torch.Tensor:
        """The gradient, and this process's part of the mean loss of `count` examples."""
        if self.device.type == "cpu":
            # torch.manual_seed would also queue the seed for every GPU that is not in use yet, with a stack trace.
            torch.random.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)
        self.optimizer.zero_grad(set_to_none=True)
        batch_loss = torch.zeros((), device=self.device)  # summed on the device: .item() here would be a sync per part
        sizes = part_sizes(len(targets), self.accumulate, self.smallest)
        parts = list(zip(split(inputs, sizes), targets.split(sizes), strict=True))
        for number, (micro_inputs, micro_targets) in enumerate(parts, start=1):
            with self._exchange(last=number == len(parts)):
                # forward
                precision = self.dtype or torch.bfloat16
                with torch.autocast(self.device.type, dtype=precision, enabled=self.dtype is not None):
                    logits = self._forward(micro_inputs)
                loss = self.losses(logits, micro_targets).sum() / count  # by the batch, not the micro-batch
                # backward; gradients are averaged over ranks, and should be the sum
                self.scaler.scale(loss * self.ranks.world).backward()
            batch_loss += loss.detach()
        return batch_loss

    def _forward(self, inputs: Inputs) -> torch.Tensor:
        logits: torch.Tensor = self._forward_here(inputs) if self._replica is None else self._replica(inputs)
        return logits

    def _forward_here(self, inputs: Inputs) -> torch.Tensor:
        """The forward pass of the model as it is by then, compiled or not."""
        logits: torch.Tensor = self.model(inputs)
        return logits

    def _exchange(self, *, last: bool) -> AbstractContextManager[None]:
        """Context of a micro-batch: ranks exchange their gradients once per batch, after the last one."""
        if last or not isinstance(self._replica, DistributedDataParallel):
            return nullcontext()
        return self._replica.no_sync()

    def _halve_micro_batch(self, batch_size: int, context: str) -> None:
        """Split batches into twice as many micro-batches from now on.

        Raises:
            RunFailed: they are the smallest, or other processes already wait for this one's gradients.
        """
        if self.ranks.are_several:
            raise RunFailed(
                f"memory ran out in process {self.ranks.rank + 1} of {self.ranks.world} at {context}. Start it again"
                f" with --accumulate {2 * self.accumulate}: it goes on from its checkpoint, with the same result"
            ) from None
        before = max(part_sizes(batch_size, self.accumulate, self.smallest))
        smallest = max(part_sizes(batch_size, batch_size, self.smallest))
        if before == smallest:
            at_a_time = "one picture" if before == 1 else f"{before} pictures, the fewest its BatchNorm can take,"
            raise RunFailed(
                f"memory ran out with {at_a_time} at a time, at {context}. Take a smaller model or --img-size, freeze"
                " the backbone for longer, or stop what else uses the memory"
            ) from None
        after = before
        while after == before:
            self.accumulate *= 2
            after = max(part_sizes(batch_size, self.accumulate, self.smallest))
        position = context.split(", pictures")[0]
        self.on_memory(f"memory ran out with {before} pictures at a time ({position}): going on with {after}")


def make_train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: Settings,
    balance: Balance,
    device: torch.device,
    on_memory: Callable[[str], None],
    smallest: int = 1,
    ranks: Ranks = SINGLE,
    lora: LowRankUpdates | None = None,
) -> TrainStep:
    """The train step for these settings: `model` compiled or not, all weights clipped, class weights in the loss.

    With `lora` its factors are trained in place of the backbone. `smallest` is the number of images that the model can
    be trained on at a time.
    """
    train_step = TrainStep(
        model=model,
        optimizer=optimizer,
        parameters=list(model.parameters()) if lora is None else _in_groups(optimizer),
        device=device,
        dtype=autocast_dtype(device, amp=settings.amp),
        accumulate=settings.accumulate,
        grad_clip=settings.grad_clip,
        losses=partial(
            example_losses,
            smoothing=settings.label_smoothing,
            class_weights=_optional_tensor(balance.weights, device),
            focal_gamma=settings.focal_gamma,
            logit_offsets=_optional_tensor(balance.logit_offsets, device),
        ),
        on_memory=on_memory,
        smallest=smallest,
        deferred=device.type == "cuda",
        ranks=ranks,
        sam_rho=settings.sam_rho,
        lora=lora,
    )
    if settings.compile:
        train_step.compile()
    return train_step


def _in_groups(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _restore(buffers: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Give each buffer its value from before."""
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)


def _optional_tensor(values: tuple[float, ...] | None, device: torch.device) -> torch.Tensor | None:
    return None if values is None else torch.tensor(values, device=device)
