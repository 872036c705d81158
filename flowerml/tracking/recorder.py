"""The two who take a run's events: one through the run's journal, one straight to MLflow."""

import logging
import os
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

logger = logging.getLogger(__name__)


class JournalRecorder:
    """Writes events into the journal, from where they go to MLflow by themselves."""

    def __init__(self, journal: Journal, sender: BackgroundSender) -> None:
        self._journal = journal
        self._sender = sender
        self._one_by_one = threading.Lock()
        self._ended: Ended | None = None

    @property
    def run_id(self) -> str:
        """MLflow's id of the run; empty until the server has answered."""
        return self._sender.run_id

    @property
    def pending(self) -> int:
        """How many events are not at MLflow."""
        return self._sender.pending()

    def record(self, event: Event) -> None:
        """Write one event to the disk.

        Raises:
            Fenced: another process has taken the run over.
            UserError: the disk is full. The end of a run is told to MLflow all the same, and raises nothing then.
        """
        try:
            with self._one_by_one:
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
        """Deliver the rest, for as long as the server takes it; says what is left."""
        self._sender.close()
        if self._ended is not None and self._ended.status is Status.KILLED and os.environ.get("MLFLOW_RUN_ID"):
            restore_status_after_launcher(os.environ["MLFLOW_RUN_ID"], self._ended.status.value)

    def abandon(self) -> None:
        """Deliver no more. What is in the journal stays there, for others to deliver."""
        self._sender.abandon()


class MlflowRecorder:
    """Writes events to one MLflow run, at once.

    A server that fails in mid-run ends nothing: events wait, in order, for the next one to get through.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._writer = RunWriter(client, client.get_run(run_id))
        self._waiting: deque[Event] = deque()
        self._warned = False

    @property
    def run_id(self) -> str:
        """MLflow's id of the run."""
        return self._writer.run_id

    def record(self, event: Event) -> None:
        """Write one event, after those still waiting."""
        self._waiting.append(event)
        try:
            while self._waiting:
                self._writer.write(self._waiting[0])
                self._waiting.popleft()
        except Exception as error:  # whatever a server, a disk or a network in between may raise: the work goes on
            if not self._warned:
                logger.warning(
                    f"MLflow does not take events at the moment ({short_reason(error)}); they are kept and sent with the"
                    " next one"
                )
            self._warned = True

    def close(self) -> None:
        """Say what did not get through."""
        if self._waiting:
            logger.warning(
                f"{len(self._waiting)} events did not reach MLflow; the files are where the command has written them"
            )
