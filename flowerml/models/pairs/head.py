"""What makes relations of two crops' features and their boxes' numbers. Nothing but torch: served weights take it
along.
"""

import torch
from torch import nn
from torch.nn import functional as F

WIDEST = 1024  # of the projection's hidden layer: as wide as one crop's features, but not wider
SPATIAL = (64, 128)  # hidden widths of the MLP on box numbers


class PairHead(nn.Module):
    """Logits (N, C) from features (N, 2F) and box numbers (N, B): cosine of the pair to each class's learned embedding,
    by temperature.

    Visual: 2F -> min(F, 1024) -> E; spatial: B -> 64 -> 128 -> E; both are added. ReLU and dropout stand between the
    layers (`dropout` in the visual part, `spatial_dropout` in the other). For ResNet-50 that is 4096 -> 1024 -> 128,
    for ResNet-18 1024 -> 512 -> 128.
    """

    def __init__(
        self,
        features: int,
        numbers: int,
        classes: int,
        *,
        embedding: int,
        temperature: float,
        dropout: float,
        spatial_dropout: float,
    ) -> None:
        super().__init__()
        wide = min(features, WIDEST)
        self.visual = nn.Sequential(
            nn.Linear(2 * features, wide), nn.ReLU(), nn.Dropout(dropout), nn.Linear(wide, embedding)
        )
        first, second = SPATIAL
        self.spatial = nn.Sequential(
            *(nn.Linear(numbers, first), nn.ReLU(), nn.Dropout(spatial_dropout)),
            *(nn.Linear(first, second), nn.ReLU(), nn.Dropout(spatial_dropout)),
            nn.Linear(second, embedding),
        )
        self.embeddings = nn.Parameter(torch.randn(classes, embedding) / embedding**0.5)
        self.temperature = temperature

    def forward(self, features: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """Logits (N, C), in fp32 whatever goes on around: bf16 has too few digits for the gap between two boxes, or for
        a cosine.
        """
        with torch.autocast(features.device.type, enabled=False):
            pair = self.visual(features.float()) + self.spatial(numbers.float())
            return F.linear(F.normalize(pair, dim=1), F.normalize(self.embeddings, dim=1)) / self.temperature
