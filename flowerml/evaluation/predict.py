"""Running a model over examples: always fp32, in order, so that figures repeat to the last digit."""

import logging
import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from flowerml.data.inputs import Inputs, batch_size_of, chunk, to_device, to_memory_format
from flowerml.data.loader import Batch
from flowerml.errors import RunFailed
from flowerml.evaluation.metrics import Predictions
from flowerml.models.memory import give_back, out_of_memory

logger = logging.getLogger(__name__)


@torch.inference_mode()
def predict_all(
    model: nn.Module,
    batches: Iterable[Batch],
    classes: tuple[str, ...],
    device: torch.device,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Predictions:
    """Logits of every batch. No autocast: bf16 decides some close calls another way than the fp32 model that is
    delivered.

    Where memory runs out, batches go through in ever smaller parts. Raises RunFailed where one picture is too much.
    """
    was_training = model.training
    model.eval()
    logits, labels, ids = [], [], []
    parts = 1
    for inputs, targets, names in batches:
        there = to_memory_format(to_device(inputs, device), memory_format)
        while (found := _in_parts(model, there, parts)) is None:
            if parts >= batch_size_of(inputs):
                raise RunFailed(
                    "memory ran out with one picture at a time: take a smaller --img-size or model, or another --device"
                )
            parts *= 2
            logger.warning(
                f"memory ran out: evaluating {math.ceil(batch_size_of(inputs) / parts)} pictures at a time from here on"
            )
            give_back()
        logits.append(found)
        labels.append(targets)
        ids.extend(names)
    model.train(was_training)
    return Predictions(
        classes, tuple(ids), torch.cat(labels).numpy(), np.ascontiguousarray(torch.cat(logits).cpu().numpy())
    )


def _in_parts(model: nn.Module, inputs: Inputs, parts: int) -> torch.Tensor | None:
    """Logits of one batch, None where memory runs out."""
    try:
        return torch.cat([model(part).float() for part in chunk(inputs, parts)])
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return None
