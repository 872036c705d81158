"""A classifier: a backbone that gives pooled features, and a head that makes logits of them."""

from abc import ABC, abstractmethod
from contextlib import nullcontext

import torch
from torch import nn

from flowerml.data.inputs import Inputs


class Network(nn.Module, ABC):
    """What the training knows of a model: logits (N, C) from a batch's inputs, its parameters in `backbone` and in
    `head`.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.frozen = False

    @abstractmethod
    def blank(self, size: int) -> Inputs:
        """Inputs of one example whose pictures are black squares of `size` pixels: to try the model out, to count what
        it costs.
        """

    def pooled(self, pictures: torch.Tensor) -> torch.Tensor:
        """Features (N, F) of pictures (N, 3, S, S). While frozen, nothing is kept for a backward pass through the
        backbone.
        """
        with torch.no_grad() if self.frozen else nullcontext():
            features: torch.Tensor = self.backbone(pictures)
        return features

    def set_frozen(self, *, frozen: bool) -> None:
        """Freeze or unfreeze the backbone: evaluation mode (batch-norm statistics stay), no gradient, no backward
        through it.

        `pooled` keeps no graph of a frozen backbone; its parameters stay marked as trainable all the same, because
        torch is slow with weights that are not (8 times for CLIP on CPU: it copies them for every picture of a batch
        before multiplying).
        """
        self.frozen = frozen
        for parameter in self.backbone.parameters():
            parameter.grad = None  # the optimiser passes over what has no gradient
        self.train(self.training)

    def train(self, mode: bool = True) -> "Network":  # noqa: FBT001, FBT002 - torch's own signature
        """As torch's, but a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self


class Classifier(Network):
    """Logits (N, C) from inputs (N, 3, S, S): `head(dropout(backbone(inputs)))`, one linear head, the backbone giving
    features (N, F).
    """

    def __init__(self, backbone: nn.Module, features: int, classes: int, dropout: float) -> None:
        head = nn.Linear(features, classes)
        super().__init__(backbone, head)
        self.dropout = nn.Dropout(dropout)
        # A small start leaves the first predictions near uniform, so the first gradients into a pretrained backbone
        # stay small.
        nn.init.trunc_normal_(head.weight, std=0.01)
        nn.init.zeros_(head.bias)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits (N, C)."""
        logits: torch.Tensor = self.head(self.dropout(self.pooled(inputs)))
        return logits

    def blank(self, size: int) -> torch.Tensor:
        """(1, 3, size, size) of zeros."""
        return torch.zeros(1, 3, size, size)
