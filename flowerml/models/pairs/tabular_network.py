"""A small network on box features and, optionally, embeddings of the object categories."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from flowerml.data.relations.geometry import BoxFeatures
from flowerml.data.relations.records import Pair
from flowerml.models.pairs.tabular_models import PairEncoder, encode_labels, mirror_permutation, safe_log


@dataclass(frozen=True)
class NetworkSettings:
    """Architecture and training: AdamW with a one-cycle learning rate (15 % warm-up). Runs on the CPU."""

    kind: BoxFeatures = BoxFeatures.RICH
    categories: bool = True
    width: int = 256
    embedding: int = 32  # of an object category
    dropout: float = 0.4
    epochs: int = 7
    batch: int = 256
    lr: float = 3e-3
    weight_decay: float = 1e-2
    other_weight: float = 0.5  # loss weight of a pair whose relation is not one of the classes
    seed: int = 0


class PairNet(nn.Module):
    """Logits (N, C) from box features and category embeddings.

    Box features pass two layers, are concatenated with both category embeddings and their product, and pass two more;
    a bias per category is added.
    """

    def __init__(self, box_dim: int, categories: int, classes: int, settings: NetworkSettings) -> None:
        super().__init__()
        width, embedding = settings.width, settings.embedding
        self.subject, self.object = nn.Embedding(categories, embedding), nn.Embedding(categories, embedding)
        self.subject_bias, self.object_bias = nn.Embedding(categories, classes), nn.Embedding(categories, classes)
        stds = ((self.subject, 0.3), (self.object, 0.3), (self.subject_bias, 0.0), (self.object_bias, 0.0))
        for table, std in stds:
            nn.init.normal_(table.weight, std=std)
        self.boxes = nn.Sequential(
            *(nn.Linear(box_dim, width), nn.GELU(), nn.Dropout(settings.dropout / 2)),
            *(nn.Linear(width, width), nn.GELU()),
        )
        self.joined = nn.Sequential(
            *(nn.Dropout(settings.dropout), nn.Linear(width + 3 * embedding, width), nn.GELU()),
            *(nn.Dropout(settings.dropout), nn.Linear(width, classes)),
        )

    def forward(self, boxes: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Logits (N, C) from box features (N, F) and category codes (N, 2)."""
        subject, other = codes.T
        subject_vector, object_vector = self.subject(subject), self.object(other)
        joined = [self.boxes(boxes), subject_vector, object_vector, subject_vector * object_vector]
        logits: torch.Tensor = self.joined(torch.cat(joined, dim=1))
        return logits + self.subject_bias(subject) + self.object_bias(other)


class NetworkPairModel:
    """The network as a `PairModel`, with mirrored pairs as augmentation in training and prediction.

    `others` are pairs of training images whose relation is not one of the classes. They serve as auxiliary classes:
    the network learns to tell all relations apart, and predicts only the classes.
    """

    def __init__(self, settings: NetworkSettings, others: Sequence[Pair] = ()) -> None:
        self._settings, self._others = settings, others

    def fit(self, pairs: Sequence[Pair], classes: Sequence[str]) -> None:
        """Fit. Outputs are the classes, then the other relations sorted by name."""
        others = [pair for pair in self._others if pair.relation not in classes]
        names = [*classes, *sorted({pair.relation for pair in others})]
        all_pairs = [*pairs, *others]
        self._classes, self._mirror = len(classes), mirror_permutation(classes)
        self._encoder = PairEncoder(all_pairs, self._settings.kind)
        weights = np.r_[np.ones(len(pairs)), np.full(len(others), self._settings.other_weight)]
        if mirror_permutation(names) is not None:
            all_pairs += [pair.flipped() for pair in all_pairs]
            weights = np.r_[weights, weights]
        arrays = (
            self._encoder.encode_boxes(all_pairs),
            self._codes(all_pairs),
            encode_labels(all_pairs, names),
            weights,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._settings.seed)
            self._net = PairNet(arrays[0].shape[1], self._encoder.num_categories, len(names), self._settings)
            _train_network(self._net, self._settings, *(torch.as_tensor(array) for array in arrays))

    def log_probabilities(self, pairs: Sequence[Pair]) -> np.ndarray:
        """(N, C): the mean over the pair and its mirror image."""
        probabilities = self._predict_proba(pairs)
        if self._mirror is None:
            return safe_log(probabilities)
        mirrored = self._predict_proba([pair.flipped() for pair in pairs])[:, self._mirror]
        return safe_log((probabilities + mirrored) / 2)

    def _codes(self, pairs: Sequence[Pair]) -> np.ndarray:
        codes = self._encoder.encode_categories(pairs)
        return codes if self._settings.categories else np.zeros_like(codes)

    @torch.no_grad()
    def _predict_proba(self, pairs: Sequence[Pair]) -> np.ndarray:
        boxes, codes = self._encoder.encode_boxes(pairs), self._codes(pairs)
        logits = self._net(torch.as_tensor(boxes), torch.as_tensor(codes))
        return np.asarray(logits[:, : self._classes].double().softmax(dim=1))


def _train_network(
    net: PairNet,
    settings: NetworkSettings,
    boxes: torch.Tensor,
    codes: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
) -> None:
    count, weights = len(targets), weights.float()
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    steps = settings.epochs * -(-count // settings.batch)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.lr, total_steps=steps, pct_start=0.15)
    net.train()
    for _ in range(settings.epochs):
        for batch in torch.randperm(count).split(settings.batch):
            losses = F.cross_entropy(net(boxes[batch], codes[batch]), targets[batch], reduction="none")
            optimizer.zero_grad()
            (losses * weights[batch]).mean().backward()
            optimizer.step()
            scheduler.step()
    net.eval()
