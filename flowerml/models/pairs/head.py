"""The head of the pair classifier. It imports only torch, as it is copied into the code of served models."""

from contextlib import nullcontext

import torch
from torch import nn
from torch.nn import functional as F

MAX_HIDDEN = 1024  # of the visual projection, which is otherwise as wide as one crop's features
SPATIAL_HIDDEN = (64, 128)  # of the MLP on box features


class PairHead(nn.Module):
    """Logits (N, C): cosine of the pair's embedding to each class's learned embedding, divided by `temperature`.

    Inputs are features (N, 2F) and box features (N, B). Visual MLP 2F -> min(F, 1024) -> E and spatial MLP
    B -> 64 -> 128 -> E are added; ReLU and dropout between the layers (`dropout` and `spatial_dropout`). For ResNet-50
    the visual part is 4096 -> 1024 -> 128, for ResNet-18 1024 -> 512 -> 128.
    """

    def __init__(
        self,
        features: int,
        box_dim: int,
        classes: int,
        *,
        embedding: int,
        temperature: float,
        dropout: float,
        spatial_dropout: float,
    ) -> None:
        super().__init__()
        hidden = min(features, MAX_HIDDEN)
        self.visual = nn.Sequential(
            nn.Linear(2 * features, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, embedding)
        )
        first, second = SPATIAL_HIDDEN
        self.spatial = nn.Sequential(
            *(nn.Linear(box_dim, first), nn.ReLU(), nn.Dropout(spatial_dropout)),
            *(nn.Linear(first, second), nn.ReLU(), nn.Dropout(spatial_dropout)),
            nn.Linear(second, embedding),
        )
        self.embeddings = nn.Parameter(torch.randn(classes, embedding) / embedding**0.5)
        self.temperature = temperature

    def forward(self, features: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Logits (N, C), in fp32 also under autocast: bf16 is too coarse for box features and for a cosine."""
        device = features.device.type
        # Tensors of the device "meta", by which the cost is counted, know no autocast.
        with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
            pair = self.visual(features.float()) + self.spatial(boxes.float())
            return F.linear(F.normalize(pair, dim=1), F.normalize(self.embeddings, dim=1)) / self.temperature
