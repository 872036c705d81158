"""Batches of features that are in memory, in the same order as batches of their images would have."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from flowerml.data.loader import Batch, EpochSampler, Example, Loader


@dataclass(frozen=True)
class FeatureBatches:
    """Batches `(features, labels, ids)` of examples with features (N, F), in the order of a sampler."""

    features: torch.Tensor
    labels: torch.Tensor
    ids: Sequence[str]
    order: EpochSampler

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        for slots in self.order:
            positions = [position for _, position, _ in slots]
            index = torch.tensor(positions)
            yield self.features[index], self.labels[index], [self.ids[position] for position in positions]


def feature_training_loader(
    features: torch.Tensor, examples: Sequence[Example], *, batch_size: int, seed: int, repeats: Sequence[int]
) -> Loader:
    """Shuffled batches, as `training_loader` has of the examples' images; `features` (N, F) are those of `examples`."""
    return _make_loader(features, examples, EpochSampler(repeats, seed, batch_size))


def feature_evaluation_loader(features: torch.Tensor, examples: Sequence[Example], *, batch_size: int) -> Loader:
    """Batches in the order of `examples`; `features` (N, F) are theirs."""
    return _make_loader(features, examples, EpochSampler([1] * len(examples), None, batch_size))


def _make_loader(features: torch.Tensor, examples: Sequence[Example], order: EpochSampler) -> Loader:
    labels = torch.tensor([example.label for example in examples])
    return Loader(FeatureBatches(features, labels, [example.id for example in examples], order), order)
