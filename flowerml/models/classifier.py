"""A classifier: a backbone that gives pooled features, dropout, one linear head."""

from contextlib import nullcontext

import torch
from torch import nn


class Classifier(nn.Module):
    """Logits (N, C) from inputs (N, 3, S, S): `head(dropout(backbone(inputs)))`, the backbone giving pooled features (N, F)."""

    def __init__(self, backbone: nn.Module, features: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, classes)
        self.frozen = False
        # A small start leaves the first predictions near uniform, so the first gradients into a pretrained backbone stay small.
        nn.init.trunc_normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits (N, C). While frozen, nothing is kept for a backward pass through the backbone."""
        with torch.no_grad() if self.frozen else nullcontext():
            pooled = self.backbone(inputs)
        logits: torch.Tensor = self.head(self.dropout(pooled))
        return logits

    def set_frozen(self, *, frozen: bool) -> None:
        """Freeze or unfreeze the backbone: evaluation mode (batch-norm statistics stay), no gradient, no backward through it.

        `forward` keeps no graph of a frozen backbone; its parameters stay marked as trainable all the same, because torch is
        slow with weights that are not (8 times for CLIP on CPU: it copies them for every picture of a batch before multiplying).
        """
        self.frozen = frozen
        for parameter in self.backbone.parameters():
            parameter.grad = None  # the optimiser passes over what has no gradient
        self.train(self.training)

    def train(self, mode: bool = True) -> "Classifier":  # noqa: FBT001, FBT002 - torch's own signature
        """As torch's, but a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self
