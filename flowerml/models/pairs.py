"""A classifier of two boxed objects: their crops through one backbone, the numbers of their boxes, cosine to an embedding per class."""

import torch
from torch import nn
from torch.nn import functional as F

from flowerml.models.builders import Built, bare_backbone, loaded_backbone, try_out
from flowerml.models.classifier import Network
from flowerml.settings import ModelSpec

WIDEST = 1024  # of the projection's hidden layer: as wide as one crop's features, but not wider
SPATIAL = (64, 128)  # hidden widths of the MLP on box numbers

PairInputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Crop of the subject and of the object (N, 3, S, S), or their pooled features (N, F), and the numbers of their boxes (N, B)."""


class PairHead(nn.Module):
    """Logits (N, C) from features (N, 2F) and box numbers (N, B): cosine of the pair to each class's learned embedding, by temperature.

    Visual: 2F -> min(F, 1024) -> E; spatial: B -> 64 -> 128 -> E; both are added. ReLU and dropout stand between the layers (`dropout` in
    the visual part, `spatial_dropout` in the other). For ResNet-50 that is 4096 -> 1024 -> 128, for ResNet-18 1024 -> 512 -> 128.
    """

    def __init__(
        self, features: int, numbers: int, classes: int, *, embedding: int, temperature: float, dropout: float, spatial_dropout: float
    ) -> None:
        super().__init__()
        wide = min(features, WIDEST)
        self.visual = nn.Sequential(nn.Linear(2 * features, wide), nn.ReLU(), nn.Dropout(dropout), nn.Linear(wide, embedding))
        first, second = SPATIAL
        self.spatial = nn.Sequential(
            *(nn.Linear(numbers, first), nn.ReLU(), nn.Dropout(spatial_dropout)),
            *(nn.Linear(first, second), nn.ReLU(), nn.Dropout(spatial_dropout)),
            nn.Linear(second, embedding),
        )
        self.embeddings = nn.Parameter(torch.randn(classes, embedding) / embedding**0.5)
        self.temperature = temperature

    def forward(self, features: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """Logits (N, C), in fp32 whatever goes on around: bf16 has too few digits for the gap between two boxes, or for a cosine."""
        with torch.autocast(features.device.type, enabled=False):
            pair = self.visual(features.float()) + self.spatial(numbers.float())
            return F.linear(F.normalize(pair, dim=1), F.normalize(self.embeddings, dim=1)) / self.temperature


class PairClassifier(Network):
    """Logits (N, C) from `PairInputs`; both crops go through the one backbone together."""

    def __init__(self, backbone: nn.Module, head: nn.Module, numbers: int) -> None:
        super().__init__(backbone, head)
        self.numbers = numbers

    def forward(self, inputs: PairInputs) -> torch.Tensor:
        """Logits (N, C). What has been pooled before (a frozen backbone's features, computed once) is taken as it is."""
        subject, other, numbers = inputs
        if subject.ndim == 4:
            subject, other = self.pooled(torch.cat([subject, other])).chunk(2)
        logits: torch.Tensor = self.head(torch.cat([subject, other], dim=1), numbers)
        return logits

    def blank(self, size: int) -> PairInputs:
        """Two black crops and zeros for the boxes."""
        return torch.zeros(1, 3, size, size), torch.zeros(1, 3, size, size), torch.zeros(1, self.numbers)


def build_pairs(
    spec: ModelSpec,
    classes: int,
    numbers: int,
    *,
    img_size: int,
    embedding: int,
    temperature: float,
    dropout: float = 0.0,
    spatial_dropout: float = 0.0,
    drop_path: float = 0.0,
    weights: str = "none",
    overrides: dict[str, object] | None = None,
) -> Built:
    """A pair classifier for `numbers` box numbers, its backbone from `weights`, its head fresh. Otherwise as `builders.build`.

    Raises:
        UserError: as `builders.build`.
    """
    backbone, unused = loaded_backbone(spec, img_size, drop_path, weights)
    head = PairHead(
        backbone.features,
        numbers,
        classes,
        embedding=embedding,
        temperature=temperature,
        dropout=dropout,
        spatial_dropout=spatial_dropout,
    )
    model = PairClassifier(backbone.module, head, numbers)
    try_out(model, spec, img_size)
    return Built(model, backbone.described(overrides), backbone.stages, unused)


def pairs_for_weights(spec: ModelSpec, classes: int, numbers: int, *, img_size: int, embedding: int, temperature: float) -> PairClassifier:
    """The network alone, for weights that are at hand, as `builders.build_for_weights`. Raises UnknownModel."""
    backbone = bare_backbone(spec, img_size, 0.0, hub=False)
    head = PairHead(backbone.features, numbers, classes, embedding=embedding, temperature=temperature, dropout=0.0, spatial_dropout=0.0)
    return PairClassifier(backbone.module, head, numbers)
