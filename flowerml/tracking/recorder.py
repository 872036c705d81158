"""Recorders of a run's events: through the run's journal, or directly to MLflow."""

import logging
import threading
import time
from collections import deque
from pathlib import Path

from mlflow.tracking import MlflowClient

from flowerml.errors import LeaseLost, UserError
from flowerml.events import Artifact, Ended, Event, Status
from flowerml.journal import Journal
from flowerml.tracking.client.errors import short_reason
from flowerml.tracking.client.failures import ArtifactStoreError, find_failure, is_permanent
from flowerml.tracking.delivery.background_sender import BackgroundSender
from flowerml.tracking.delivery.run_writer import RunWriter
from flowerml.tracking.environment.env_run import own_env_run_id
from flowerml.tracking.environment.launcher_status import restore_status_after_launcher
from flowerml.tracking.heartbeat import TagHeartbeat

logger = logging.getLogger(__name__)

_RETRY_FILES_S = 60.0  # after the artifact store has failed
_CLOSE_WAIT_S = 60.0  # for a server that does not answer: a restart takes seconds
_RETRY_S = 1.0


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

    @property
    def waiting_files(self) -> int:
        """The number of files that the artifact store did not take; they are among the pending events."""
        return self._sender.delivery.waiting_files

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

    An error of the server is not fatal: events are queued in memory, in order, and sent before the next one. A file
    that the artifact store does not take stops no other event; it is tried again later.
    """

    def __init__(self, client: MlflowClient, run_id: str, *, heartbeat: bool = False) -> None:
        """With `heartbeat` the run has heartbeats until its end; a run that lasts for hours needs some."""
        self._writer = RunWriter(client, client.get_run(run_id))
        self._heartbeat = TagHeartbeat(client, run_id) if heartbeat else None
        self._queue: deque[Event] = deque()
        self._files: dict[tuple[Path, str], Artifact] = {}  # not taken by the artifact store
        self._retry_files_at = 0.0  # time.monotonic()
        self._warned: set[str] = set()

    @property
    def run_id(self) -> str:
        """MLflow's run id."""
        return self._writer.run_id

    def record(self, event: Event) -> None:
        """Write one event, after those still queued."""
        self._queue.append(event)
        self._write_queue()

    def _write_queue(self) -> Exception | None:
        """Write the queued events, up to the first that is not taken; returns why it is not."""
        try:
            while self._queue:
                self._write(self._queue[0])
                self._queue.popleft()
        except Exception as error:  # of the server, the disk or the network: the command goes on
            self._warn(
                "events",
                f"MLflow does not take events at the moment ({short_reason(error)}); they are kept and sent with the"
                " next one",
            )
            return error
        return None

    def close(self) -> None:
        """Try what is left once more, a server that does not answer for a while; log what was not delivered."""
        files, self._files, self._retry_files_at = list(self._files.values()), {}, 0.0
        for file in files:
            self.record(file)
        give_up = time.monotonic() + _CLOSE_WAIT_S
        while (error := self._write_queue()) is not None and not is_permanent(error) and time.monotonic() < give_up:
            self._warn("waiting", f"waiting for MLflow to take the rest, {_CLOSE_WAIT_S:.0f} s at most")
            time.sleep(_RETRY_S)
        self._stop_heartbeat()
        if self._queue:
            logger.warning(
                f"{len(self._queue)} events did not reach MLflow; the files are where the command has written them"
            )
        if self._files:
            names = ", ".join(str(path) for path, _ in self._files)
            logger.warning(f"MLflow has no copy of {names}: they are there only")

    def _stop_heartbeat(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.stop()

    def _write(self, event: Event) -> None:
        if isinstance(event, Ended):
            self._stop_heartbeat()  # the end removes its tag
        if not isinstance(event, Artifact):
            self._writer.write(event)
            return
        key = (event.path, event.folder)
        if time.monotonic() < self._retry_files_at:
            self._files[key] = event
            return
        try:
            self._writer.write(event)
            self._files.pop(key, None)
        except ArtifactStoreError as error:
            self._files[key] = event
            self._retry_files_at = time.monotonic() + _RETRY_FILES_S
            self._warn("files", f"{find_failure(error)}. Everything else goes to MLflow")

    def _warn(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            logger.warning(text)
        self._warned.add(kind)
