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

from flowerml.data.decode import BadImage
from flowerml.prediction.standalone.flowers_classifier import BATCH, Classifier

_BATCHES_AHEAD = 2  # that are decoded while the model computes; bounds the memory


@dataclass(frozen=True)
class FilePrediction:
    """One file: a probability for each class of the model, or None and the reason why it can't be used."""

    path: Path
    probabilities: tuple[float, ...] | None
    reason: str = ""


def predict_files(model: Classifier, paths: Sequence[Path], workers: int = 0) -> Iterator[FilePrediction]:
    """A prediction for each path, in their order. Memory does not grow with their number.

    `workers` threads decode and resize while the model computes (both release the GIL); 0 takes turns.
    """
    with closing(_preprocessed(model, paths, workers)) as results:
        for start in range(0, len(paths), BATCH):
            batch = paths[start : start + BATCH]
            views = list(islice(results, len(batch)))
            inputs = [view for view in views if not isinstance(view, str)]
            rows = iter(model.probabilities(inputs) if inputs else ())
            for path, view in zip(batch, views, strict=True):
                if isinstance(view, str):
                    yield FilePrediction(path, None, view)
                else:
                    yield FilePrediction(path, tuple(next(rows).tolist()))


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
