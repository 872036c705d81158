"""The training loss per example: summed over micro-batches it is the same as over the whole batch."""

import torch
from torch.nn import functional as F

_MIN_ERROR = 1e-6  # lower bound of 1 - p in the focal factor: for gamma < 1 its gradient diverges at 0


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

    `logits` (N, C); `targets` (N,) class indices, or (N, C) soft targets after mixup. `class_weights` (C,) multiplies
    each class's term; the mean divides by N, not by the sum of weights, so that gradient accumulation changes nothing
    (balanced weights have mean 1 over the training set). `focal_gamma` multiplies each class's term by (1 - p)^gamma,
    p being its probability (Lin et al. 2017, "Focal Loss for Dense Object Detection"; 0 is the cross entropy).
    `logit_offsets` (C,) are added to the logits first (Menon et al. 2021, "Long-tail learning via logit adjustment").
    """
    adjusted = logits.float() if logit_offsets is None else logits.float() + logit_offsets
    if focal_gamma == 0:
        return F.cross_entropy(adjusted, targets, weight=class_weights, reduction="none", label_smoothing=smoothing)
    classes = adjusted.shape[1]
    soft_targets = F.one_hot(targets, classes).float() if targets.dim() == 1 else targets
    soft_targets = soft_targets * (1 - smoothing) + smoothing / classes
    log_p = F.log_softmax(adjusted, dim=1)
    per_class = soft_targets * (-torch.expm1(log_p)).clamp_min(_MIN_ERROR) ** focal_gamma * -log_p
    return (per_class if class_weights is None else per_class * class_weights).sum(dim=1)
