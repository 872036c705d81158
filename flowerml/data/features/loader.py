"""Batches of features that are in memory, in the same order as batches of their images would have."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from flowerml.data.loader import Batch, EpochSampler, Example, Loader


@dataclass(frozen=True)
class FeatureBatches:
    """Batches `(features, labels, ids)` of examples with features, in the order of a sampler.

    `views` are one or several features of every row, (R, F) each: epoch e (1-based) yields view (e - 1) mod K. `rows`
    are those of each example, one per repeat.
    """

    views: Sequence[torch.Tensor]
    rows: Sequence[Sequence[int]]
    labels: torch.Tensor
    ids: Sequence[str]
    order: EpochSampler

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        for slots in self.order:
            features = self.views[(self.order.epoch - 1) % len(self.views)]
            rows = torch.tensor([self.rows[position][repeat] for _, position, repeat in slots])
            positions = [position for _, position, _ in slots]
            yield features[rows], self.labels[torch.tensor(positions)], [self.ids[position] for position in positions]


@dataclass(frozen=True)
class FeatureLoaders:
    """Loaders of features for the epochs in which the backbone is frozen; without `val` nothing was held out."""

    train: Loader
    val: Loader | None


def feature_training_loader(
    features: torch.Tensor, examples: Sequence[Example], *, batch_size: int, seed: int, repeats: Sequence[int]
) -> Loader:
    """Shuffled batches, as `training_loader` has of the examples' images; `features` (N, F) are those of `examples`."""
    rows = [[row] * count for row, count in enumerate(repeats)]
    return _make_loader([features], rows, examples, EpochSampler(repeats, seed, batch_size))


def view_training_loader(
    views: Sequence[torch.Tensor], examples: Sequence[Example], *, repeats: Sequence[int], images: Loader
) -> Loader:
    """The batches of `images`, a training loader of the examples, with another view (R, F) in each epoch.

    A view has a row for every repeat of every example, in order.
    """
    ends = accumulate(repeats)
    rows = [range(end - count, end) for end, count in zip(ends, repeats, strict=True)]
    return _make_loader(views, rows, examples, images.sampler, images.smallest_batch)


def feature_evaluation_loader(features: torch.Tensor, examples: Sequence[Example], *, batch_size: int) -> Loader:
    """Batches in the order of `examples`; `features` (N, F) are theirs."""
    rows = [[row] for row in range(len(examples))]
    return _make_loader([features], rows, examples, EpochSampler([1] * len(examples), None, batch_size))


def _make_loader(
    views: Sequence[torch.Tensor],
    rows: Sequence[Sequence[int]],
    examples: Sequence[Example],
    order: EpochSampler,
    smallest_batch: int = 1,
) -> Loader:
    labels = torch.tensor([example.label for example in examples])
    batches = FeatureBatches(views, rows, labels, [example.id for example in examples], order)
    return Loader(batches, order, smallest_batch)
