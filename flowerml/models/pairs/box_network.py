"""A small network on box numbers and, where asked for, on learned vectors of the objects' names."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from flowerml.data.relations.geometry import BoxFeatures
from flowerml.data.relations.records import Pair
from flowerml.models.pairs.box_tables import Encoder, as_logarithms, labels_of, mirror_places


@dataclass(frozen=True)
class NetworkSettings:
    """How the network is built and trained. AdamW, one cycle of the rate (15 % warm-up), one thread's arithmetic for
    one seed.
    """

    kind: BoxFeatures = BoxFeatures.RICH
    categories: bool = True
    width: int = 256
    vector: int = 32  # of an object's name
    dropout: float = 0.4
    epochs: int = 7
    batch: int = 256
    rate: float = 3e-3
    decay: float = 1e-2
    other_weight: float = 0.5  # of a pair whose relation is none of the classes
    seed: int = 0


class PairNet(nn.Module):
    """Logits (N, C): box numbers through two layers, joined with both names' vectors and their product, plus a bias for
    each name.
    """

    def __init__(self, numbers: int, categories: int, classes: int, settings: NetworkSettings) -> None:
        super().__init__()
        width, vector = settings.width, settings.vector
        self.subject, self.object = nn.Embedding(categories, vector), nn.Embedding(categories, vector)
        self.subject_bias, self.object_bias = nn.Embedding(categories, classes), nn.Embedding(categories, classes)
        for table, deviation in (
            (self.subject, 0.3),
            (self.object, 0.3),
            (self.subject_bias, 0.0),
            (self.object_bias, 0.0),
        ):
            nn.init.normal_(table.weight, std=deviation)
        self.boxes = nn.Sequential(
            *(nn.Linear(numbers, width), nn.GELU(), nn.Dropout(settings.dropout / 2)),
            *(nn.Linear(width, width), nn.GELU()),
        )
        self.joined = nn.Sequential(
            *(nn.Dropout(settings.dropout), nn.Linear(width + 3 * vector, width), nn.GELU()),
            *(nn.Dropout(settings.dropout), nn.Linear(width, classes)),
        )

    def forward(self, numbers: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """From numbers (N, F) and codes (N, 2)."""
        subject, other = codes.T
        left, right = self.subject(subject), self.object(other)
        logits: torch.Tensor = self.joined(torch.cat([self.boxes(numbers), left, right, left * right], dim=1))
        return logits + self.subject_bias(subject) + self.object_bias(other)


class PairNetwork:
    """The network as a `PairModel`, trained on mirrored pairs too, asked about both mirror images.

    Pairs of other relations than the classes (`others`, of training images) make it learn what objects do together: it
    is trained to tell all of them apart and asked about the classes only. They need no place among the ten.
    """

    def __init__(self, settings: NetworkSettings, others: Sequence[Pair] = ()) -> None:
        self._settings, self._others = settings, others

    def fit(self, pairs: Sequence[Pair], classes: Sequence[str]) -> None:
        """Learn: the classes first, then the other relations in the order of their names."""
        others = [pair for pair in self._others if pair.relation not in classes]
        names = [*classes, *sorted({pair.relation for pair in others})]
        whole = [*pairs, *others]
        self._classes, self._mirrored = len(classes), mirror_places(classes)
        self._encoder = Encoder(whole, self._settings.kind)
        weights = np.r_[np.ones(len(pairs)), np.full(len(others), self._settings.other_weight)]
        if mirror_places(names) is not None:
            whole += [pair.flipped() for pair in whole]
            weights = np.r_[weights, weights]
        arrays = (self._encoder.numbers(whole), self._codes(whole), labels_of(whole, names), weights)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._settings.seed)
            self._net = PairNet(arrays[0].shape[1], self._encoder.categories, len(names), self._settings)
            _train(self._net, self._settings, *(torch.as_tensor(array) for array in arrays))

    def log_probabilities(self, pairs: Sequence[Pair]) -> np.ndarray:
        """(N, C): the mean of both mirror images."""
        seen = self._ask(pairs)
        if self._mirrored is None:
            return as_logarithms(seen)
        return as_logarithms((seen + self._ask([pair.flipped() for pair in pairs])[:, self._mirrored]) / 2)

    def _codes(self, pairs: Sequence[Pair]) -> np.ndarray:
        codes = self._encoder.codes(pairs)
        return codes if self._settings.categories else np.zeros_like(codes)

    @torch.no_grad()
    def _ask(self, pairs: Sequence[Pair]) -> np.ndarray:
        logits = self._net(torch.as_tensor(self._encoder.numbers(pairs)), torch.as_tensor(self._codes(pairs)))
        return np.asarray(logits[:, : self._classes].double().softmax(dim=1))


def _train(
    net: PairNet,
    settings: NetworkSettings,
    numbers: torch.Tensor,
    codes: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
) -> None:
    count, weights = len(targets), weights.float()
    optimiser = torch.optim.AdamW(net.parameters(), lr=settings.rate, weight_decay=settings.decay)
    steps = settings.epochs * -(-count // settings.batch)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.rate, total_steps=steps, pct_start=0.15)
    net.train()
    for _ in range(settings.epochs):
        for chosen in torch.randperm(count).split(settings.batch):
            losses = F.cross_entropy(net(numbers[chosen], codes[chosen]), targets[chosen], reduction="none")
            optimiser.zero_grad()
            (losses * weights[chosen]).mean().backward()
            optimiser.step()
            cycle.step()
    net.eval()
