"""Predicting many picture files: those that can't be used are told apart, the others go through the model in batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from flowerml.prediction.flowers_classifier import BATCH, BadPicture, FlowersClassifier


@dataclass(frozen=True)
class Answer:
    """What came of one file: a probability for each class of the model, or the reason why it can't be used."""

    path: Path
    shares: tuple[float, ...] | None
    reason: str = ""


def predict_files(model: FlowersClassifier, paths: Sequence[Path]) -> Iterator[Answer]:
    """An answer for each path, in their order. Memory does not grow with their number."""
    for start in range(0, len(paths), BATCH):
        part = paths[start : start + BATCH]
        looked = [_look(model, path) for path in part]
        inputs = [seen for seen in looked if isinstance(seen, torch.Tensor)]
        rows = iter(model.probabilities(inputs) if inputs else ())
        for path, seen in zip(part, looked, strict=True):
            yield Answer(path, None, seen) if isinstance(seen, str) else Answer(path, tuple(map(float, next(rows))))


def _look(model: FlowersClassifier, path: Path) -> torch.Tensor | str:
    """The model's input, or why there is none."""
    try:
        return model.look(path)
    except BadPicture as error:
        return str(error)
