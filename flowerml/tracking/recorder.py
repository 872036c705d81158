"""Recorders of a run's events: through the run's journal, or directly to MLflow."""

import logging
import threading
from collections import deque

from mlflow.tracking import MlflowClient

from flowerml.errors import LeaseLost, UserError
from flowerml.events import Ended, Event, Status
from flowerml.journal import Journal
from flowerml.tracking.client.errors import short_reason
from flowerml.tracking.delivery.background_sender import BackgroundSender
from flowerml.tracking.delivery.launcher_status import restore_status_after_launcher
from flowerml.tracking.delivery.run_writer import RunWriter
from flowerml.tracking.environment.env_run import own_env_run_id

logger = logging.getLogger(__name__)


class JournalRecorder:
    """Appends events to the journal, which the background thread delivers to MLflow."""

    def __init__(self, journal: Journal, sender: BackgroundSender) -> None:
        self._journal = journal
        self._sender = sender
        self._append_lock = threading.Lock()
        self._ended: Ended | None = None

    @property
    def run_id(self) -> str:
        """MLflow's run id; empty until the server has responded."""
        return self._sender.run_id

    @property
    def pending(self) -> int:
        """The number of undelivered events."""
        return self._sender.pending()

    def record(self, event: Event) -> None:
        """Write one event to disk and return; its delivery follows in the background.

        Raises:
            LeaseLost: a newer attempt owns the run.
            UserError: the disk is full. Not for an `Ended`, which is then delivered from memory.
        """
        try:
            with self._append_lock:
                self._journal.append(event)
        except LeaseLost:
            self.abandon()
            raise
        except UserError as error:
            if not isinstance(event, Ended):
                raise
            logger.warning(f"the end could not be kept: {error}")
            self._sender.delivery.add_final_status(event)
        self._sender.notify()
        if isinstance(event, Ended):
            self._ended = event

    def close(self) -> None:
        """Deliver the rest, as long as the server responds; logs what is left."""
        self._sender.close()
        env_run_id = own_env_run_id()
        if self._ended is not None and self._ended.status is Status.KILLED and env_run_id is not None:
            restore_status_after_launcher(env_run_id, self._ended.status.value)

    def abandon(self) -> None:
        """Stop the delivery; undelivered events stay in the journal, for another process to deliver."""
        self._sender.abandon()


class MlflowRecorder:
    """Writes events to one MLflow run synchronously.

    An error of the server is not fatal: events are queued in memory, in order, and sent before the next one.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._writer = RunWriter(client, client.get_run(run_id))
        self._queue: deque[Event] = deque()
        self._warned = False

    @property
    def run_id(self) -> str:
        """MLflow's run id."""
        return self._writer.run_id

    def record(self, event: Event) -> None:
        """Write one event, after those still queued."""
        self._queue.append(event)
        try:
            while self._queue:
                self._writer.write(self._queue[0])
                self._queue.popleft()
        except Exception as error:  # of the server, the disk or the network: the command goes on
            if not self._warned:
                logger.warning(
                    f"MLflow does not take events at the moment ({short_reason(error)}); they are kept and sent with"
                    " the next one"
                )
            self._warned = True

    def close(self) -> None:
        """Log how many events were not delivered."""
        if self._queue:
            logger.warning(
                f"{len(self._queue)} events did not reach MLflow; the files are where the command has written them"
            )
