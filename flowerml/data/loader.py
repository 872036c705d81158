"""Batches for training and evaluation: order and augmentation are keyed, so the number of workers does not matter."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from flowerml.data.decode import BadImage
from flowerml.data.inputs import Inputs, Relabelled, stack
from flowerml.data.location import Part
from flowerml.data.rng import permutation, seeded
from flowerml.data.workers.errors import lost_connection_as_error
from flowerml.data.workers.prefetch import reading_ahead
from flowerml.data.workers.process import init_worker, why_no_workers
from flowerml.data.workers.transfer import SharedBatch, share
from flowerml.errors import RunFailed
from flowerml.process.allocator import return_freed_memory

logger = logging.getLogger(__name__)

Batch = tuple[Inputs, torch.Tensor, list[str]]
Transform = Callable[[Any], Inputs | Relabelled]  # from an example's raw input to the model's


@dataclass(frozen=True)
class Example:
    """One example: its id (used in predictions and errors), its label, and a function that reads its raw input.

    `sha256` is the digest (hex) of its file, where that is known. `needs` tells the part of a file that `read` will
    give to `read_location`, None for none; one on a server is read ahead.
    """

    id: str
    label: int
    read: Callable[[], Any]
    sha256: str | None = field(default=None, kw_only=True)
    needs: Callable[[], Part | None] | None = field(default=None, kw_only=True)


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

    def __getitems__(self, indices: Sequence[tuple[int, int, int]]) -> list[tuple[Inputs, int, str]]:
        """The rows of a batch, which a DataLoader asks for where this method is there: as one by one."""
        needed = (self._examples[position].needs for _, position, _ in indices)
        locations = (needs() for needs in needed if needs is not None)
        with reading_ahead([place for place in locations if place is not None and place.is_remote]):
            return [self[index] for index in indices]


@dataclass(frozen=True)
class Share:
    """The part of each batch that process `rank` of `world` takes: contiguous, and equally large up to one example."""

    rank: int = 0
    world: int = 1

    def of(self, count: int) -> slice:
        """Which of `count` examples these are."""
        return slice(count * self.rank // self.world, count * (self.rank + 1) // self.world)


_ALL = Share()


class EpochSampler(Sampler[list[tuple[int, int, int]]]):
    """Batches of indices of one epoch: example i `repeats[i]` times, shuffled by (seed, epoch), in order for seed None.

    A last batch below `smallest` joins the one before. The first `skip` batches are left out. Of each batch only the
    `share` is yielded; `sizes` are those of the whole batches.
    """

    def __init__(
        self, repeats: Sequence[int], seed: int | None, batch_size: int, smallest: int = 1, share: Share = _ALL
    ) -> None:
        self._slots = [(position, repeat) for position, times in enumerate(repeats) for repeat in range(times)]
        self._seed = seed
        self._share = share
        self.sizes = [min(batch_size, len(self._slots) - at) for at in range(0, len(self._slots), batch_size)]
        if len(self.sizes) > 1 and self.sizes[-1] < smallest:
            last = self.sizes.pop()
            self.sizes[-1] += last
        self.epoch = self.skip = 0

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        count = len(self._slots)
        order = range(count) if self._seed is None else permutation(count, self._seed, "order", self.epoch)
        at = sum(self.sizes[: self.skip])
        for size in self.sizes[self.skip :]:
            yield [(self.epoch, *self._slots[slot]) for slot in order[at : at + size][self._share.of(size)]]
            at += size


class Batches(Protocol):
    """An iterable of batches that knows how many there are, such as a DataLoader."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...


@dataclass
class Loader:
    """Batches `(inputs, labels, ids)`; `epoch(n)` yields those of epoch n (1-based). Workers live as long as this."""

    batches: Batches
    sampler: EpochSampler
    smallest_batch: int = 1  # number of examples that the model can be trained on at a time
    workers_started: bool = field(default=False, init=False)
    _begun: tuple[int, Iterator[Any]] | None = field(default=None, init=False, repr=False)  # by `prefetch`

    def __len__(self) -> int:
        return len(self.batches)

    @property
    def sizes(self) -> Sequence[int]:
        """Number of examples of each batch, over all processes that take a share of it."""
        return self.sampler.sizes

    def start_workers(self) -> None:
        """Start the worker processes; else the first epoch does. Call it before the training's memory grows.

        A worker is forked: it holds on to all memory of this process, which from then on copies each page it writes.
        """
        if isinstance(self.batches, DataLoader) and self.batches.num_workers and not self.workers_started:
            return_freed_memory()
            self.workers_started = True
            self.sampler.skip = len(self)
            for _ in self.batches:  # none, but it starts its workers
                pass

    def end_workers(self) -> None:
        """End the worker processes, as soon as no one is in the middle of an epoch. There are no batches any more."""
        self.batches, self._begun = (), None

    @property
    def batches_ahead(self) -> int:
        """How many batches the worker processes load before they are asked for; 0 without workers."""
        batches = self.batches
        return batches.num_workers * (batches.prefetch_factor or 0) if isinstance(batches, DataLoader) else 0

    def prefetch(self, number: int) -> None:
        """Let the worker processes load the first batches of epoch `number` now; nothing without workers.

        Call it while nobody is in the middle of another epoch. `epoch(number)` yields the same as without; any other
        drops what was loaded.

        Raises:
            DataLoaderDied: as `epoch`.
        """
        if self.batches_ahead:
            self.start_workers()
            self._begun = number, self._request(number, 0)

    def _request(self, number: int, skip: int) -> Iterator[Any]:
        self.sampler.epoch, self.sampler.skip = number, skip
        with lost_connection_as_error():
            return iter(self.batches)

    def epoch(self, number: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of one epoch without the first `skip`, whose pictures are not read.

        Raises:
            RunFailed: names a picture that has become unreadable since the scan.
            DataLoaderDied: a worker ended while it handed a batch over.
        """
        begun, self._begun = self._begun, None
        if begun is not None and (number, skip) == (begun[0], 0):
            batches = begun[1]
        else:
            self.start_workers()
            batches = self._request(number, skip)
        try:
            with lost_connection_as_error() if self.batches_ahead else nullcontext():
                for batch in batches:
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
    smallest_batch: int = 1,
    share: Share = _ALL,
) -> Loader:
    """Shuffled batches; the last one may be smaller, and joins the one before where it is below `smallest_batch`.

    `repeats` (one per example) oversamples. Of each batch only the `share` is read; all processes of the training must
    be able to take `smallest_batch` of the last one.
    """
    smallest = smallest_batch * share.world
    order = EpochSampler(repeats or [1] * len(examples), seed, batch_size, smallest, share)
    batches = _batches(ExampleDataset(examples, transform, seed), order, workers, pin=pin)
    return Loader(batches, order, smallest_batch)


def evaluation_loader(
    examples: Sequence[Example], transform: Transform, *, batch_size: int, workers: int, pin: bool = False
) -> Loader:
    """Batches in the order of `examples`."""
    order = EpochSampler([1] * len(examples), None, batch_size)
    return Loader(_batches(ExampleDataset(examples, transform, 0), order, workers, pin=pin), order)


def _batches(data: ExampleDataset, order: EpochSampler, workers: int, *, pin: bool) -> DataLoader[Any]:
    if workers and (reason := why_no_workers()):
        logger.warning(f"no processes that load pictures can be started ({reason}): the training loads them itself")
        workers = 0
    return DataLoader(
        data,
        batch_sampler=order,
        num_workers=workers,
        collate_fn=_collate_and_share if workers else collate,
        persistent_workers=workers > 0,
        pin_memory=pin,
        # DataLoader draws a base seed for its workers each epoch. Nothing here uses it; a separate generator keeps the
        # draw from shifting the training's random numbers.
        generator=torch.Generator(),
        worker_init_fn=init_worker,
    )


def collate(rows: Sequence[tuple[Inputs, int, str]]) -> Batch:
    """Rows to a batch: inputs (N, ...) float32, one tensor or several, labels (N,) int64, ids."""
    inputs, labels, ids = zip(*rows, strict=True)
    return stack(inputs), torch.tensor(labels), list(ids)


def _collate_and_share(rows: Sequence[tuple[Inputs, int, str]]) -> SharedBatch:
    """As `collate`, in a worker process."""
    return share(*collate(rows))
