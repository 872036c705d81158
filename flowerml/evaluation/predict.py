"""Prediction over a data loader: in order and, where figures are to be kept, in fp32: the same to the last digit."""

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from flowerml.data.inputs import Inputs, batch_size_of, chunk, to_device, to_memory_format
from flowerml.data.loader import Batch
from flowerml.data.workers.errors import worker_death_as_error
from flowerml.errors import RunFailed
from flowerml.evaluation.metrics import Predictions
from flowerml.evaluation.tta import NO_VIEWS, crop_shares
from flowerml.models.precision import plain_fp32
from flowerml.models.resources.memory import free_memory, is_out_of_memory

logger = logging.getLogger(__name__)


@worker_death_as_error()
@torch.inference_mode()
@plain_fp32()
def predict_all(
    model: nn.Module,
    batches: Iterable[Batch],
    classes: tuple[str, ...],
    device: torch.device,
    memory_format: torch.memory_format = torch.contiguous_format,
    dtype: torch.dtype | None = None,
) -> Predictions:
    """Predictions for all batches, none for none. `dtype` None computes in fp32; with autocast close calls differ.

    Logits stay on the device until the end: one sync point. Out of memory, batches are split into twice as many parts.

    Raises:
        RunFailed: memory runs out with one image at a time.
        DataLoaderDied: a worker process died.
    """
    was_training = model.training
    model.eval()
    logits, labels, ids = [], [], []
    parts = 1
    precision = torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)
    for inputs, targets, names in batches:
        on_device = to_memory_format(to_device(inputs, device), memory_format)
        while (batch_logits := _forward_in_chunks(model, on_device, parts, precision)) is None:
            if parts >= batch_size_of(inputs):
                raise RunFailed(
                    "memory ran out with one picture at a time: take a smaller --img-size or model, or another --device"
                )
            parts *= 2
            logger.warning(
                f"memory ran out: evaluating {math.ceil(batch_size_of(inputs) / parts)} pictures at a time from here on"
            )
            free_memory()
        logits.append(batch_logits)
        labels.append(targets)
        ids.extend(names)
    model.train(was_training)
    if not ids:
        return Predictions(classes, (), np.empty(0, np.int64), np.empty((0, len(classes)), np.float32))
    return Predictions(
        classes, tuple(ids), torch.cat(labels).numpy(), np.ascontiguousarray(torch.cat(logits).cpu().numpy())
    )


def _forward_in_chunks(model: nn.Module, inputs: Inputs, parts: int, precision: torch.autocast) -> torch.Tensor | None:
    """Logits of one batch, or None when memory runs out."""
    try:
        with precision:
            return torch.cat([model(part).float() for part in chunk(inputs, parts)])
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None


def predict_with_views(
    network: nn.Module,
    batches_at: Callable[[float], Iterable[Batch]],
    tta: str,
    crop_pct: float,
    classes: tuple[str, ...],
    device: torch.device,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> tuple[Predictions, Predictions]:
    """Predictions (without views, with the views of `tta`), in fp32; the first are those of `predict_all`.

    `batches_at` gives the batches of the examples with this `crop_pct`, in one order.

    Raises:
        RunFailed, DataLoaderDied: as `predict_all`.
    """
    if tta == NO_VIEWS:
        plain = predict_all(network, batches_at(crop_pct), classes, device, memory_format)
        return plain, plain
    both = _WithMirrorImage(network)
    sizes = [
        predict_all(both, batches_at(share), classes, device, memory_format) for share in crop_shares(tta, crop_pct)
    ]
    pairs = np.stack([size.logits.reshape(-1, 2, len(classes)) for size in sizes])  # (V, N, 2, C)
    viewed = pairs.mean(axis=2).mean(axis=0, dtype=np.float32)
    return replace(sizes[0], logits=np.ascontiguousarray(pairs[0, :, 0])), replace(sizes[0], logits=viewed)


class _WithMirrorImage(nn.Module):
    """Logits (N, 2C): those of the inputs, then those of their mirror images."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.network(inputs), self.network(inputs.flip(-1))], dim=1)
