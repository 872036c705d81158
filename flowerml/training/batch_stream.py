"""Batches as the training loop gets them: with progress, measured waiting, and a stop between two of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flowerml.data.loader import Batch, Loader
from flowerml.data.workers.errors import DataLoaderDied, is_worker_death
from flowerml.progress_bar import track
from flowerml.training.callbacks import Callbacks
from flowerml.training.distributed.ranks import Ranks
from flowerml.training.performance.data_wait import DataWait

CheckStop = Callable[[], None]


class BatchStream:
    """The batches of a loader; `data_wait` is the time that training has waited for images.

    The `check_stop` of its methods saves the state and raises Stopped where a stop was requested. It is not kept: with
    a reference to the trainer, which has one to this, loader processes would outlive the training.
    """

    def __init__(self, callbacks: Callbacks, ranks: Ranks) -> None:
        self._callbacks, self._ranks = callbacks, ranks
        self.data_wait = DataWait()

    def for_training(
        self,
        loader: Loader,
        check_stop: CheckStop,
        epoch: int,
        evaluation: Loader | None,
        *,
        skip: int,
        steps: int,
        are_images: bool,
    ) -> Iterator[Batch]:
        """The `steps` batches of an epoch that follow the first `skip`, with a progress bar.

        As soon as worker processes run out of these, the first batches of the `evaluation` that follows are loaded.
        """
        loaded = loader.epoch(epoch, skip)
        if evaluation is not None:
            loaded = _then_prefetch(loaded, steps - max(1, loader.batches_ahead), evaluation, epoch)
        arriving = track(loaded, f"epoch {epoch}", total=steps, log_every_s=120)
        batches = self._received(arriving, check_stop)
        yield from self.data_wait.measured(batches) if are_images else batches

    def for_evaluation(self, loader: Loader, check_stop: CheckStop, epoch: int) -> Iterator[Batch]:
        """All batches. Ranks may have different numbers of them: they agree on a stop before the next step only."""
        batches = loader.epoch(epoch)
        if self._ranks.are_several:
            yield from batches
            return
        for batch in self._received(batches, check_stop):
            check_stop()
            yield batch

    def prefetch(self, loader: Loader, check_stop: CheckStop, epoch: int) -> None:
        """Let worker processes load the first batches of an epoch of which no batch is asked for yet."""
        with self._between_steps(check_stop):
            loader.prefetch(epoch)

    def _received(self, batches: Iterator[Batch], check_stop: CheckStop) -> Iterator[Batch]:
        """The batches. Several ranks agree before each step, and after the last, whether to stop.

        Raises:
            Stopped: a stop was requested.
        """
        while True:
            with self._between_steps(check_stop):
                batch = next(batches, None)
            if self._ranks.are_several:
                check_stop()
            if batch is None:
                return
            yield batch

    @contextmanager
    def _between_steps(self, check_stop: CheckStop) -> Iterator[None]:
        """Context in which a stop or a dead worker comes between two steps: the state is saved.

        Raises:
            Stopped: a stop was requested.
        """
        try:
            with self._callbacks.waiting():
                yield
        except KeyboardInterrupt:
            check_stop()
            raise
        except (RuntimeError, DataLoaderDied) as error:
            if is_worker_death(error) and not self._ranks.are_several:
                check_stop()
            raise


def _then_prefetch(batches: Iterator[Batch], after: int, loader: Loader, epoch: int) -> Iterator[Batch]:
    """The batches; the first of another loader's epoch are asked for once `after` of them, or the first, are here."""
    for number, batch in enumerate(batches, start=1):
        if number == max(1, after):
            loader.prefetch(epoch)
        yield batch
