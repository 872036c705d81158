"""A classifier of two boxed objects: their crops through one backbone, the numbers of their boxes, cosine to an
embedding per class.
"""

import torch
from torch import nn

from flowerml.models.builders import Built, bare_backbone, loaded_backbone, try_out
from flowerml.models.classifier import Network
from flowerml.models.pairs.head import PairHead
from flowerml.settings import ModelSpec

PairInputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Crop of the subject and of the object (N, 3, S, S), or their pooled features (N, F), and the numbers of their boxes (N, B)."""


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
    """A pair classifier for `numbers` box numbers, its backbone from `weights`, its head fresh. Otherwise as
    `builders.build`.

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


def pairs_for_weights(
    spec: ModelSpec, classes: int, numbers: int, *, img_size: int, embedding: int, temperature: float
) -> PairClassifier:
    """The network alone, for weights that are at hand, as `builders.build_for_weights`. Raises UnknownModel."""
    backbone = bare_backbone(spec, img_size, 0.0, hub=False)
    head = PairHead(
        backbone.features,
        numbers,
        classes,
        embedding=embedding,
        temperature=temperature,
        dropout=0.0,
        spatial_dropout=0.0,
    )
    return PairClassifier(backbone.module, head, numbers)
