"""Batches as the training loop gets them: with progress, measured waiting, and a stop between two of them."""

from collections.abc import Callable, Iterator

from flowerml.data.loader import Batch, Loader
from flowerml.data.workers.errors import is_worker_death
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
        self, loader: Loader, check_stop: CheckStop, epoch: int, *, skip: int, steps: int, are_images: bool
    ) -> Iterator[Batch]:
        """The `steps` batches of an epoch that follow the first `skip`, with a progress bar."""
        arriving = track(loader.epoch(epoch, skip), f"epoch {epoch}", total=steps, log_every_s=120)
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

    def _received(self, batches: Iterator[Batch], check_stop: CheckStop) -> Iterator[Batch]:
        """The batches. A stop while one is waited for, or a dead worker, comes between two steps: the state is saved.

        Several ranks agree before each step, and after the last, whether to stop.

        Raises:
            Stopped: a stop was requested.
        """
        while True:
            try:
                with self._callbacks.waiting():
                    batch = next(batches, None)
            except KeyboardInterrupt:
                check_stop()
                raise
            except RuntimeError as error:
                if is_worker_death(error) and not self._ranks.are_several:
                    check_stop()
                raise
            if self._ranks.are_several:
                check_stop()
            if batch is None:
                return
            yield batch
