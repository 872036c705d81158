"""Running a model over examples: always fp32, in order, so that figures repeat to the last digit."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from flowerml.data.loading import Batch
from flowerml.evaluation.scores import Predictions


@torch.inference_mode()
def predict_all(
    model: nn.Module,
    batches: Iterable[Batch],
    classes: tuple[str, ...],
    device: torch.device,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Predictions:
    """Logits of every batch. No autocast: bf16 decides some close calls another way than the fp32 model that is delivered."""
    was_training = model.training
    model.eval()
    logits, labels, ids = [], [], []
    for inputs, targets, names in batches:
        moved = inputs.to(device, non_blocking=True, memory_format=memory_format)
        logits.append(model(moved).float())
        labels.append(targets)
        ids.extend(names)
    model.train(was_training)
    return Predictions(classes, tuple(ids), torch.cat(labels).numpy(), np.ascontiguousarray(torch.cat(logits).cpu().numpy()))
