"""A classifier of two boxed objects: both crops through one backbone, box features, cosine to class embeddings."""

import torch
from torch import nn

from flowerml.models.builders import BuiltModel, build_backbone, check_forward_pass, create_backbone
from flowerml.models.classifier import Network
from flowerml.models.pairs.head import PairHead
from flowerml.settings import ModelSpec

PairInputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Crops of subject and object (N, 3, S, S), or their pooled features (N, F), and box features (N, B)."""


class PairClassifier(Network):
    """Logits (N, C) from `PairInputs`; both crops go through the one backbone together."""

    def __init__(self, backbone: nn.Module, head: nn.Module, box_dim: int) -> None:
        super().__init__(backbone, head)
        self.box_dim = box_dim

    def forward(self, inputs: PairInputs) -> torch.Tensor:
        """Logits (N, C). Features that were extracted before (cached ones of a frozen backbone) skip the backbone."""
        subject, other, boxes = inputs
        if subject.ndim == 4:
            subject, other = self.extract_features(torch.cat([subject, other])).chunk(2)
        logits: torch.Tensor = self.head(torch.cat([subject, other], dim=1), boxes)
        return logits

    def example_inputs(self, size: int) -> PairInputs:
        """Zero crops and zero box features."""
        return torch.zeros(1, 3, size, size), torch.zeros(1, 3, size, size), torch.zeros(1, self.box_dim)


def build_pair_classifier(
    spec: ModelSpec,
    classes: int,
    box_dim: int,
    *,
    img_size: int,
    embedding: int,
    temperature: float,
    dropout: float = 0.0,
    spatial_dropout: float = 0.0,
    drop_path: float = 0.0,
    weights: str = "none",
    overrides: dict[str, object] | None = None,
) -> BuiltModel:
    """A pair classifier for `box_dim` box features: the backbone from `weights`, a new head.

    Raises:
        UserError: as `builders.build`.
    """
    backbone, unused = build_backbone(spec, img_size, drop_path, weights)
    head = PairHead(
        backbone.features,
        box_dim,
        classes,
        embedding=embedding,
        temperature=temperature,
        dropout=dropout,
        spatial_dropout=spatial_dropout,
    )
    model = PairClassifier(backbone.module, head, box_dim)
    check_forward_pass(model, spec, img_size)
    return BuiltModel(model, backbone.describe_inputs(overrides), backbone.layer_groups, unused)


def build_pair_classifier_for_weights(
    spec: ModelSpec, classes: int, box_dim: int, *, img_size: int, embedding: int, temperature: float
) -> PairClassifier:
    """A pair classifier whose weights the caller will load, as `builders.build_for_weights`. Raises UnknownModel."""
    backbone = create_backbone(spec, img_size, 0.0, hub=False)
    head = PairHead(
        backbone.features,
        box_dim,
        classes,
        embedding=embedding,
        temperature=temperature,
        dropout=0.0,
        spatial_dropout=0.0,
    )
    return PairClassifier(backbone.module, head, box_dim)
