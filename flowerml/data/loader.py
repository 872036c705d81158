"""Batches for training and evaluation: order and augmentation are keyed, so the number of workers does not matter."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from flowerml.data.decode import BadImage
from flowerml.data.inputs import Inputs, Relabelled, stack
from flowerml.data.rng import permutation, seeded
from flowerml.data.workers.process import init_worker, why_no_workers
from flowerml.data.workers.transfer import SharedBatch, share
from flowerml.errors import RunFailed

logger = logging.getLogger(__name__)

Batch = tuple[Inputs, torch.Tensor, list[str]]
Transform = Callable[[Any], Inputs | Relabelled]  # from an example's raw input to the model's


@dataclass(frozen=True)
class Example:
    """One example: its id (used in predictions and errors), its label, and a function that reads its raw input."""

    id: str
    label: int
    read: Callable[[], Any]


class ExampleDataset(Dataset[tuple[Inputs, int, str]]):
    """Examples with a transform; the index (epoch, position, repeat) keys random draws by (seed, epoch, id, repeat)."""

    def __init__(self, examples: Sequence[Example], transform: Transform, seed: int) -> None:
        self._examples = examples
        self._transform = transform
        self._seed = seed

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: tuple[int, int, int]) -> tuple[Inputs, int, str]:
        epoch, position, repeat = index
        example = self._examples[position]
        try:
            raw = example.read()
        except BadImage as error:
            # On one line: Loader.epoch takes the reason from the last one.
            name = example.id if example.id.isprintable() else repr(example.id)
            raise BadImage(f"{name}: {error}") from error
        with seeded(self._seed, "augment", epoch, example.id, repeat):
            view = self._transform(raw)
        if isinstance(view, Relabelled):
            return view.inputs, view.label, example.id
        return view, example.label, example.id


class EpochSampler(Sampler[tuple[int, int, int]]):
    """Indices of one epoch: example i `repeats[i]` times, shuffled by (seed, epoch), in order where `seed` is None.

    The first `skip` indices are left out.
    """

    def __init__(self, repeats: Sequence[int], seed: int | None) -> None:
        self._slots = [(position, repeat) for position, times in enumerate(repeats) for repeat in range(times)]
        self._seed = seed
        self.epoch = self.skip = 0

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        count = len(self._slots)
        order = range(count) if self._seed is None else permutation(count, self._seed, "order", self.epoch)
        for slot in order[self.skip :]:
            position, repeat = self._slots[slot]
            yield self.epoch, position, repeat


@dataclass
class Loader:
    """Batches `(inputs, labels, ids)`; `epoch(n)` yields those of epoch n (1-based). Workers live as long as this."""

    batches: DataLoader[Any]
    sampler: EpochSampler
    batch_size: int

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, number: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of one epoch without the first `skip`, whose pictures are not read.

        Raises:
            RunFailed: names a picture that has become unreadable since the scan.
        """
        self.sampler.epoch, self.sampler.skip = number, skip * self.batch_size
        try:
            for batch in self.batches:
                yield batch.restore() if isinstance(batch, SharedBatch) else batch
        except BadImage as error:
            # From a worker process the message has that process's traceback before it.
            reason = (
                error.args[0].strip().splitlines()[-1].removeprefix(f"{BadImage.__module__}.{BadImage.__qualname__}: ")
            )
            raise RunFailed(f"a picture can't be read any more: {reason}") from error


def training_loader(
    examples: Sequence[Example],
    transform: Transform,
    *,
    batch_size: int,
    workers: int,
    seed: int,
    repeats: Sequence[int] | None = None,
    pin: bool = False,
) -> Loader:
    """Shuffled batches; the last one may be smaller. `repeats` (one per example) oversamples."""
    order = EpochSampler(repeats or [1] * len(examples), seed)
    return _loader(ExampleDataset(examples, transform, seed), order, batch_size, workers, pin=pin)


def evaluation_loader(
    examples: Sequence[Example], transform: Transform, *, batch_size: int, workers: int, pin: bool = False
) -> Loader:
    """Batches in the order of `examples`."""
    return _loader(
        ExampleDataset(examples, transform, 0), EpochSampler([1] * len(examples), None), batch_size, workers, pin=pin
    )


def _loader(data: ExampleDataset, order: EpochSampler, batch_size: int, workers: int, *, pin: bool) -> Loader:
    if workers and (reason := why_no_workers()):
        logger.warning(f"no processes that load pictures can be started ({reason}): the training loads them itself")
        workers = 0
    batches: DataLoader[Any] = DataLoader(
        data,
        batch_size=batch_size,
        sampler=order,
        num_workers=workers,
        collate_fn=_collate_and_share if workers else collate,
        persistent_workers=workers > 0,
        pin_memory=pin,
        # DataLoader draws a base seed for its workers each epoch. Nothing here uses it; a separate generator keeps the
        # draw from shifting the training's random numbers.
        generator=torch.Generator(),
        worker_init_fn=init_worker,
    )
    return Loader(batches, order, batch_size)


def collate(rows: Sequence[tuple[Inputs, int, str]]) -> Batch:
    """Rows to a batch: inputs (N, ...) float32, one tensor or several, labels (N,) int64, ids."""
    inputs, labels, ids = zip(*rows, strict=True)
    return stack(inputs), torch.tensor(labels), list(ids)


def _collate_and_share(rows: Sequence[tuple[Inputs, int, str]]) -> SharedBatch:
    """As `collate`, in a worker process."""
    return share(*collate(rows))
