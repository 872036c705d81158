"""Predict many picture files in batches; a file that can't be used is reported with its reason, the others go on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from flowerml.data.decode import BadImage
from flowerml.prediction.standalone.flowers_classifier import BATCH, FlowersClassifier


@dataclass(frozen=True)
class FilePrediction:
    """One file: a probability for each class of the model, or None and the reason why it can't be used."""

    path: Path
    probabilities: tuple[float, ...] | None
    reason: str = ""


def predict_files(model: FlowersClassifier, paths: Sequence[Path]) -> Iterator[FilePrediction]:
    """A prediction for each path, in their order. Memory does not grow with their number."""
    for start in range(0, len(paths), BATCH):
        batch = paths[start : start + BATCH]
        results = [_preprocess(model, path) for path in batch]
        inputs = [result for result in results if isinstance(result, torch.Tensor)]
        rows = iter(model.probabilities(inputs) if inputs else ())
        for path, result in zip(batch, results, strict=True):
            if isinstance(result, str):
                yield FilePrediction(path, None, result)
            else:
                yield FilePrediction(path, tuple(map(float, next(rows))))


def _preprocess(model: FlowersClassifier, path: Path) -> torch.Tensor | str:
    """The model's input, or why there is none."""
    try:
        return model.preprocess(path)
    except BadImage as error:
        return str(error)
