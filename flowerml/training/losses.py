"""The training loss, one number per example, so that a batch and its parts add up to the same."""

import torch
from torch.nn import functional as F


def example_losses(
    logits: torch.Tensor, targets: torch.Tensor, *, smoothing: float, class_weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Cross entropy of each example, (N,).

    `logits` (N, C); `targets` (N,) class numbers or (N, C) shares after mixing. `class_weights` (C,) multiplies each class's share; the
    batch mean divides by N, not by the sum of weights, so that accumulation over parts changes nothing (balanced weights have mean 1
    over the training set).
    """
    return F.cross_entropy(logits.float(), targets, weight=class_weights, reduction="none", label_smoothing=smoothing)
