"""A classifier: a backbone for pooled features and a head for logits."""

from abc import ABC, abstractmethod
from contextlib import nullcontext

import torch
from torch import nn

from flowerml.data.inputs import Inputs


class Network(nn.Module, ABC):
    """The interface training uses: logits (N, C) from a batch's inputs, parameters in `backbone` and `head`."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.frozen = self.inputs_are_features = False

    @abstractmethod
    def example_inputs(self, size: int) -> Inputs:
        """Zero inputs of one example with images of `size` pixels, to test the model or count its operations."""

    def extract_features(self, images: torch.Tensor) -> torch.Tensor:
        """Pooled features (N, F) of images (N, 3, S, S). A frozen backbone keeps no graph for the backward pass."""
        with torch.no_grad() if self.frozen else nullcontext():
            features: torch.Tensor = self.backbone(images)
        return features

    def set_frozen(self, *, frozen: bool, inputs_are_features: bool = False) -> None:
        """Freeze or unfreeze the backbone: evaluation mode (batch-norm statistics stay), no graph, no gradient.

        With `inputs_are_features` a `Classifier` takes the frozen backbone's features (N, F) in place of images.

        `requires_grad` stays True on frozen parameters: with False torch is 8 times slower for CLIP on CPU (it copies
        the weights for every image of a batch before multiplying).
        """
        self.frozen, self.inputs_are_features = frozen, frozen and inputs_are_features
        for parameter in self.backbone.parameters():
            parameter.grad = None  # the optimizer skips parameters without a gradient
        self.train(self.training)

    def train(self, mode: bool = True) -> "Network":  # noqa: FBT001, FBT002 - torch's own signature
        """As nn.Module.train, but a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self


class Classifier(Network):
    """Logits (N, C) from inputs (N, 3, S, S): `head(dropout(backbone(inputs)))` with a linear head."""

    def __init__(self, backbone: nn.Module, features: int, classes: int, dropout: float) -> None:
        head = nn.Linear(features, classes)
        super().__init__(backbone, head)
        self.head: nn.Linear = head
        self.dropout = nn.Dropout(dropout)
        # Small weights: predictions start near uniform, so that first gradients into a pretrained backbone are small.
        nn.init.trunc_normal_(head.weight, std=0.01)
        nn.init.zeros_(head.bias)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits (N, C)."""
        features = inputs if self.inputs_are_features else self.extract_features(inputs)
        logits: torch.Tensor = self.head(self.dropout(features))
        return logits

    def example_inputs(self, size: int) -> torch.Tensor:
        """(1, 3, size, size) of zeros."""
        return torch.zeros(1, 3, size, size)


class HeadClassifier(Network):
    """Dropout and head of a `Classifier`, which share its parameters: logits (N, C) from features (N, F).

    What trains it, averages it or keeps its state spends nothing on the frozen backbone.
    """

    def __init__(self, whole: Classifier) -> None:
        super().__init__(nn.Identity(), whole.head)
        self.dropout = whole.dropout
        self._features = whole.head.in_features

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits (N, C)."""
        logits: torch.Tensor = self.head(self.dropout(inputs))
        return logits

    def example_inputs(self, size: int) -> torch.Tensor:
        """(1, F) of zeros."""
        return torch.zeros(1, self._features)
