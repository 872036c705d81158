"""Predict many picture files in batches; a file that can't be used is reported with its reason, the others go on."""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from flowerml.data.decode import BadImage
from flowerml.prediction.standalone.answers import BATCH, Classifier

_BATCHES_AHEAD = 2  # that are decoded while the model computes; bounds the memory


@dataclass(frozen=True)
class FilePrediction:
    """One file: a probability for each class of the model, or None and the reason why it can't be used.

    `unknown`: it shows none of the classes, where that was asked.
    """

    path: Path
    probabilities: tuple[float, ...] | None
    reason: str = ""
    unknown: bool = False


def predict_files(
    model: Classifier, paths: Sequence[Path], workers: int = 0, *, unknown: bool = False
) -> Iterator[FilePrediction]:
    """A prediction for each path, in their order. Memory does not grow with their number.

    `workers` threads decode and resize while the model computes (both release the GIL); 0 takes turns. With `unknown`
    pictures of none of the classes are found, as `predict` does.

    Raises:
        UserError: `unknown`, and the model can't tell.
    """
    limit = model.known_energy() if unknown else None
    with closing(_preprocessed(model, paths, workers)) as results:
        for start in range(0, len(paths), BATCH):
            batch = paths[start : start + BATCH]
            views = list(islice(results, len(batch)))
            inputs = [view for view in views if not isinstance(view, str)]
            rows = _rows(model, inputs, limit)
            for path, view in zip(batch, views, strict=True):
                if isinstance(view, str):
                    yield FilePrediction(path, None, view)
                else:
                    shares, is_unknown = next(rows)
                    yield FilePrediction(path, tuple(shares.tolist()), unknown=is_unknown)


def _rows(model: Classifier, inputs: Sequence[Any], limit: float | None) -> Iterator[tuple[np.ndarray, bool]]:
    """Probabilities (C,) of each input, and whether its energy is above the limit (None: not asked)."""
    if not inputs:
        return
    if limit is None:
        yield from ((row, False) for row in model.probabilities(inputs))
    else:
        shares, energies = model.probabilities_and_energies(inputs)
        yield from ((row, bool(energy > limit)) for row, energy in zip(shares, energies, strict=True))


def _preprocessed(model: Classifier, paths: Sequence[Path], workers: int) -> Generator[Any, None, None]:
    """The model's input of each path, or (a str) why there is none."""
    if not workers:
        yield from map(partial(_preprocess, model), paths)
        return
    waiting: deque[Future[Any]] = deque()
    remaining = iter(paths)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        while True:
            for path in islice(remaining, (_BATCHES_AHEAD + 1) * BATCH - len(waiting)):
                waiting.append(pool.submit(_preprocess, model, path))
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _preprocess(model: Classifier, path: Path) -> Any:  # noqa: ANN401 - what the model's `probabilities` take
    """The model's input, or (a str) why there is none."""
    try:
        return model.preprocess(path)
    except BadImage as error:
        return str(error)
