"""Batches for training and evaluation: keyed order, keyed augmentation, any number of worker processes with the same
result.
"""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from flowerml.data.decode import BadImage
from flowerml.data.inputs import Inputs, Relabelled, stack
from flowerml.data.rng import permutation, seeded
from flowerml.errors import RunFailed

Batch = tuple[Inputs, torch.Tensor, list[str]]
Transform = Callable[[Any], Inputs | Relabelled]  # from an example's raw input to the model's

_LINGERS_S = 15  # how long a process that loads pictures outlives a SIGTERM


@dataclass(frozen=True)
class Example:
    """One thing to classify: its id (shown in predictions and errors), the number of its class, and how to get its raw
    input.
    """

    id: str
    label: int
    read: Callable[[], Any]


class Examples(Dataset[tuple[Inputs, int, str]]):
    """Examples with a transform. An index is (epoch, position, repeat): draws are keyed by (seed, epoch, id, repeat)."""

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
            name = (
                example.id if example.id.isprintable() else repr(example.id)
            )  # `epoch` below finds the reason on the last line
            raise BadImage(f"{name}: {error}") from error
        with seeded(self._seed, "augment", epoch, example.id, repeat):
            view = self._transform(raw)
        if isinstance(view, Relabelled):
            return view.inputs, view.label, example.id
        return view, example.label, example.id


class EpochOrder(Sampler[tuple[int, int, int]]):
    """The order of one epoch: every example as often as `repeats` says, shuffled by (seed, epoch), or as it stands; the
    first `skip` of them are left out.
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
        for place in order[self.skip :]:
            position, repeat = self._slots[place]
            yield self.epoch, position, repeat


@dataclass
class Loader:
    """Batches `(inputs, labels, ids)`; `epoch(n)` yields those of epoch n (1-based). Worker processes live as long as
    the loader.
    """

    batches: DataLoader[Any]
    order: EpochOrder
    batch_size: int

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, number: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of one epoch but for the first `skip`, whose pictures are not read.

        Raises:
            RunFailed: a picture that was readable before training is not any more; names it.
        """
        self.order.epoch, self.order.skip = number, skip * self.batch_size
        try:
            yield from self.batches
        except BadImage as error:
            # From a worker process the message comes back with that process's whole traceback before it.
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
    order = EpochOrder(repeats or [1] * len(examples), seed)
    return _loader(Examples(examples, transform, seed), order, batch_size, workers, pin=pin)


def evaluation_loader(
    examples: Sequence[Example], transform: Transform, *, batch_size: int, workers: int, pin: bool = False
) -> Loader:
    """Batches in the examples' own order."""
    return _loader(
        Examples(examples, transform, 0), EpochOrder([1] * len(examples), None), batch_size, workers, pin=pin
    )


def _loader(data: Examples, order: EpochOrder, batch_size: int, workers: int, *, pin: bool) -> Loader:
    batches: DataLoader[Any] = DataLoader(
        data,
        batch_size=batch_size,
        sampler=order,
        num_workers=workers,
        collate_fn=collate,
        persistent_workers=workers > 0,
        pin_memory=pin,
        # The loader draws a base seed for its workers from the global generator each epoch; a generator of its own
        # keeps that draw, which nothing here uses, from shifting the training's random numbers.
        generator=torch.Generator(),
        worker_init_fn=_start_worker,
    )
    return Loader(batches, order, batch_size)


def collate(rows: Sequence[tuple[Inputs, int, str]]) -> Batch:
    """Rows to `(inputs (N, ...) float32, one or several, labels (N,) int64, ids)`."""
    inputs, labels, ids = zip(*rows, strict=True)
    return stack(inputs), torch.tensor(labels), list(ids)


def _start_worker(_number: int) -> None:
    torch.set_num_threads(1)  # workers share the cores with the training
    # Ctrl-C and a SIGTERM to the whole group are the training's to answer. A worker that died of one would end the
    # training wherever it is (torch raises its death as an error, at any moment), so it stays for a while: long enough
    # for the step under way and its checkpoint.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_LINGERS_S))
