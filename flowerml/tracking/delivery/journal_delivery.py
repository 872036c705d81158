"""Replay a journal into MLflow in order, with exactly-once effect across disconnects."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from mlflow.entities import Run
from mlflow.tracking import MlflowClient, get_tracking_uri

from flowerml.errors import UserError
from flowerml.events import Artifact, Ended
from flowerml.journal import (
    COMPARISON,
    JOURNAL,
    DamagedLine,
    Delivered,
    Journal,
    Record,
    RunResumed,
    RunStarted,
    read_delivered,
    write_delivered,
)
from flowerml.journal.lock import JournalLock
from flowerml.tracking.client.connection import connect, is_remote, set_request_timeout, store_name
from flowerml.tracking.client.errors import is_content_error
from flowerml.tracking.client.failures import ArtifactStoreError, files_not_kept, is_access_denied, is_permanent
from flowerml.tracking.client.runs import find_run
from flowerml.tracking.delivery import reconcile
from flowerml.tracking.delivery.batches import estimate_upload_s, next_batch
from flowerml.tracking.delivery.file_uploads import FileUploads
from flowerml.tracking.delivery.record_writer import RecordWriter, write_acceptable
from flowerml.tracking.delivery.run_lookup import create_journal_run, find_journal_run
from flowerml.tracking.environment.env_run import get_env_run
from flowerml.tracking.heartbeat import HEARTBEAT, heartbeat_json

logger = logging.getLogger(__name__)

_TIMEOUT_S = 5.0  # of a request
_COMPARISONS = 3  # of the files with the server's, before the next is left for later


class JournalDelivery:
    """Delivers a journal to the current tracking store, under an exclusive lock on the journal.

    The offset in `delivered.json` advances after the server's response: a process that dies in between repeats the
    batch, which is idempotent. `on_response` is called at every response of the server. `superseded`: the folder was
    reused by a later run, and files in it may be that run's.
    """

    def __init__(
        self, journal: Journal, on_response: Callable[[], None] = lambda: None, *, superseded: bool = False
    ) -> None:
        """Raises LockHeld, or OSError if the journal is gone."""
        self.journal = journal
        self._on_response = on_response
        self._superseded = superseded
        self._lock = JournalLock(journal.folder / JOURNAL)
        state = read_delivered(journal.folder)
        self._state = replace(state, bytes=min(state.bytes, journal.end))
        self.files = FileUploads(journal)
        self._record_writer: RecordWriter | None = None  # once the run is found
        self._final_status: Ended | None = None
        self._run_ended = False
        self._reported_damage: set[int] = set()
        self._had_lost_response = False  # so an old request may still be executed

    @property
    def run_id(self) -> str:
        """MLflow's run id; empty until it is known."""
        return self._state.run_id

    @property
    def is_open(self) -> bool:
        """Whether the run was found at the server."""
        return self._record_writer is not None

    def close(self) -> None:
        """Release the lock."""
        self._lock.release()

    def add_final_status(self, ended: Ended) -> None:
        """Deliver the run's end although the journal could not store it (a full disk)."""
        self._final_status, self._run_ended = ended, True

    def pending(self) -> int:
        """The number of undelivered records. Raises OSError if the journal is gone."""
        entries = self.journal.records(self._state.bytes)
        undelivered = sum(not isinstance(entry, DamagedLine) for entry in entries)
        return undelivered + (self._final_status is not None) + self.waiting_files

    @property
    def waiting_files(self) -> int:
        """The number of files that the artifact store did not take."""
        return len(self._state.waiting)

    def has_work(self) -> bool:
        """Whether `deliver_batch` would do something now. Raises OSError as `pending`."""
        return self.pending() > self.waiting_files or (self.waiting_files > 0 and self.files.is_due)

    def estimate_upload_s(self) -> float:
        """Seconds the next record's file may take to upload, 0 if it is no file. Raises OSError as `pending`."""
        batch = next_batch(self.journal, self._state.bytes)
        return estimate_upload_s(batch.records[0]) if batch and batch.records else 0.0

    def open(self, env_run_id: str | None = None, *, alive: bool = False) -> None:
        """Find the journal's run, or create it.

        `env_run_id` is this process's MLFLOW_RUN_ID, `alive` whether this process is training the run.

        Raises:
            UserError: a deleted experiment, an `env_run_id` that the store does not have, a journal without first line.
            Exception: what MLflow raises.
        """
        self._reset_if_store_changed()
        set_request_timeout(_TIMEOUT_S)
        client = connect()
        if env_run_id:
            get_env_run(client, env_run_id)
            self._on_response()
        run = find_run(client, self.run_id)
        if self.run_id:
            self._on_response()
        if run is None and self.run_id:
            logger.warning(
                f"run {self.run_id} is not at MLflow any more: {self.journal.root} goes into a new run, from its"
                " beginning"
            )
            self._save_state(replace(self._state, run_id="", bytes=0, waiting=()))
        if run is None:
            started = self._require_started()
            run = find_journal_run(client, started, self._on_response)
            run = run or self._create_run(client, started, alive=alive)
        self._save_state(replace(self._state, run_id=run.info.run_id))
        self._record_writer = RecordWriter(
            client, run, self.journal, is_late=self.files.is_late, superseded=self._superseded
        )
        if alive:
            self.send_heartbeat()
        self._on_response()

    def send_heartbeat(self) -> None:
        """Update the run's heartbeat tag; nothing once it has ended, as its end removes the tag.

        Raises what MLflow raises.
        """
        if self._run_ended:
            return
        set_request_timeout(_TIMEOUT_S)
        self._writer.client.set_tag(self.run_id, HEARTBEAT, heartbeat_json())

    def assert_running(self) -> None:
        """Set the run to RUNNING again if it was closed as stale or by a launcher; nothing once it has ended.

        Raises what MLflow raises.
        """
        if self._run_ended or self.journal.ended is not None:
            return
        set_request_timeout(_TIMEOUT_S)
        if self._writer.client.get_run(self.run_id).info.status != "RUNNING":
            self._writer.run_writer.set_running()

    def deliver_batch(self) -> bool:
        """Deliver the next batch, or a waiting file after all others; False if there is none to be tried now.

        If the run was deleted at the server, `is_open` is False afterwards, and `open` starts over. Raises OSError if
        the journal is gone, or what MLflow raises.
        """
        batch = next_batch(self.journal, self._state.bytes)
        if batch is None:
            return self._deliver_final_status() or self._upload_waiting()
        for line in batch.damaged:
            self._report_damage(line)
        set_request_timeout(_TIMEOUT_S)
        is_taken = True
        try:
            is_taken = self._write_or_wait(batch.records)
        except Exception as error:
            self._had_lost_response = self._had_lost_response or not is_permanent(error)
            if not is_content_error(error):
                raise
            if self._run_is_gone():
                return True
            for record in batch.records:
                write_acceptable(record, self._write, self.journal.path)
        waiting = self._state.waiting  # of now: at the run's end lost files are added
        self._save_state(replace(self._state, bytes=batch.end, waiting=waiting if is_taken else (*waiting, batch.end)))
        self._on_response()
        return True

    def _write_or_wait(self, records: Sequence[Record]) -> bool:
        """Write a batch; False for a file that has to wait for the artifact store."""
        is_file = any(isinstance(record, Artifact) for record in records)
        if is_file and not self.files.is_due:
            return False
        try:
            self._write(records)
        except ArtifactStoreError as error:
            self.files.on_failure(error)
            return False
        if is_file:
            self.files.on_success()
        return True

    def _upload_waiting(self) -> bool:
        """Upload a file that waits; False if there is none to be tried now."""
        if not self._state.waiting or not self.files.is_due:
            return False
        end, *others = self._state.waiting
        artifact = self.files.find(end)
        try:
            if end == COMPARISON:
                return self._upload_lost_files()
            if artifact is not None and not self._write_or_wait([artifact]):
                return False
        except Exception as error:
            if not is_content_error(error):
                raise
            if self._run_is_gone():
                return True
            if artifact is not None:
                write_acceptable(artifact, self._write, self.journal.path)
        has_ended = self._run_ended or self.journal.ended is not None
        compare = has_ended and end != COMPARISON and not others and self._files_can_be_lost
        self._save_state(replace(self._state, waiting=(COMPARISON,) if compare else tuple(others)))
        self._on_response()
        return True

    @property
    def _files_can_be_lost(self) -> bool:
        """Whether an answer to an upload may be someone else's; files that are a later run's can't be compared."""
        return is_remote(get_tracking_uri()) and not self._superseded

    @property
    def _writer(self) -> RecordWriter:
        assert self._record_writer is not None
        return self._record_writer

    def _require_started(self) -> RunStarted:
        if self.journal.started is None:
            raise UserError(
                f"{self.journal.path}: its first line is damaged, so which run it belongs to is lost; nothing can be"
                " delivered"
            )
        return self.journal.started

    def _create_run(self, client: MlflowClient, started: RunStarted, *, alive: bool) -> Run:
        """Create the run. `unclear` is saved before the request, so that any later process looks for a duplicate."""
        before = self._state
        self._save_state(replace(before, unclear=True))
        run = create_journal_run(client, started, {HEARTBEAT: heartbeat_json(None if alive else started)})
        self._save_state(replace(before, run_id=run.info.run_id))
        return run

    def _reset_if_store_changed(self) -> None:
        """Start over, in a new run, if the journal was being delivered to another store."""
        current = store_name(get_tracking_uri())
        if self._state.store and self._state.store != current:
            if self.run_id:
                logger.info(
                    f"{self.journal.root}: recorded at {self._state.store} so far; everything goes into a new run at"
                    f" {current}"
                )
            self._save_state(Delivered(current))
        self._save_state(replace(self._state, store=current))

    def _run_is_gone(self) -> bool:
        if find_run(self._writer.client, self.run_id) is None:
            self._record_writer = None
        return self._record_writer is None

    def _report_damage(self, line: DamagedLine) -> None:
        if line.end not in self._reported_damage:
            logger.warning(
                f"{self.journal.path}, line {line.line}: {line.reason}; what it held is lost to MLflow, everything else"
                " goes there"
            )
        self._reported_damage.add(line.end)

    def _write(self, records: Sequence[Record]) -> None:
        match records:
            case [Ended() as ended]:
                self._end(ended)
                return
            case [RunResumed()]:
                self._run_ended = False
        self._writer.write(records)

    def _end(self, ended: Ended) -> None:
        client, run_writer = self._writer.client, self._writer.run_writer
        self._run_ended = True
        if self._files_can_be_lost and not self._state.waiting:  # otherwise after the last that waits
            self._upload_lost_files()
        env_run_id = reconcile.env_run_id_at(self.journal, self._state.bytes)
        run_writer.write(ended, env_run_id if env_run_id != self.run_id else None)
        if self._had_lost_response:
            reconcile.ensure_terminated(client, run_writer, ended)
        if self._state.unclear:
            reconcile.delete_duplicate_runs(client, self.run_id, self.journal)
            self._save_state(replace(self._state, unclear=False))

    def _upload_lost_files(self) -> bool:
        """Upload files whose upload was answered, and which are not there, until they are.

        False if they have to wait for the artifact store, which can't be asked, or answers but keeps none.
        """
        for _ in range(_COMPARISONS):
            try:
                lost = reconcile.missing_files(
                    self._writer.client, self._writer.run, self.journal, self.files.is_late, self._on_response
                )
            except ArtifactStoreError as error:
                if is_access_denied(error):  # to a list: uploads have credentials of their own
                    logger.debug(f"{error.address} does not list its files: {error.__cause__}")
                    break
                return self._compare_later(error)
            if not lost:
                break
            for artifact in lost.values():
                if not self._write_or_wait([artifact]):
                    self._save_state(replace(self._state, waiting=tuple(lost)))
                    return False
                self._on_response()
        else:
            return self._compare_later(files_not_kept(str(self._writer.run.info.artifact_uri)))
        self._save_state(replace(self._state, waiting=()))
        return True

    def _compare_later(self, error: ArtifactStoreError) -> bool:
        self.files.on_failure(error)
        self._save_state(replace(self._state, waiting=(COMPARISON,)))
        return False

    def _deliver_final_status(self) -> bool:
        if self._final_status is None:
            return False
        self._end(self._final_status)
        self._final_status = None
        return True

    def _save_state(self, state: Delivered) -> None:
        """Raises FileNotFoundError if the folder is gone. A full disk is ignored: a delivery is repeated then."""
        if state != self._state:
            self._state = state
            try:
                write_delivered(self.journal.folder, state)
            except OSError as error:
                if isinstance(error, FileNotFoundError):
                    raise
