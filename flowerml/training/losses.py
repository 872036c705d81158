"""The training loss, one number per example, so that a batch and its parts add up to the same."""

import torch
from torch.nn import functional as F

_NEVER_SURE = 1e-6  # the least of 1 - p in the focal factor: its gradient has no limit at 0 where gamma is below 1


def example_losses(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    smoothing: float,
    class_weights: torch.Tensor | None = None,
    focal_gamma: float = 0.0,
    logit_offsets: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross entropy of each example, (N,), or focal loss.

    `logits` (N, C); `targets` (N,) class numbers or (N, C) shares after mixing. `class_weights` (C,) multiplies each
    class's share; the batch mean divides by N, not by the sum of weights, so that accumulation over parts changes
    nothing (balanced weights have mean 1 over the training set). `focal_gamma` multiplies each class's share by (1 -
    p)^gamma, p being its probability (Lin et al. 2017, "Focal Loss"; shares and smoothing as in the cross entropy,
    which it equals at 0). `logit_offsets` (C,) are added to the logits first (Menon et al. 2021, "Long-tail learning
    via logit adjustment").
    """
    scores = logits.float() if logit_offsets is None else logits.float() + logit_offsets
    if focal_gamma == 0:
        return F.cross_entropy(scores, targets, weight=class_weights, reduction="none", label_smoothing=smoothing)
    classes = scores.shape[1]
    shares = F.one_hot(targets, classes).float() if targets.dim() == 1 else targets
    shares = shares * (1 - smoothing) + smoothing / classes
    log_p = F.log_softmax(scores, dim=1)
    terms = shares * (-torch.expm1(log_p)).clamp_min(_NEVER_SURE) ** focal_gamma * -log_p
    return (terms if class_weights is None else terms * class_weights).sum(dim=1)
