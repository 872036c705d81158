"""A journal brought to MLflow, record by record in order: each counts once, however often the way is cut off."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from mlflow.entities import Run
from mlflow.tracking import MlflowClient, get_tracking_uri

from flowerml.errors import UserError
from flowerml.events import Artifact, Ended, Metrics, Params, Tags
from flowerml.journal import (
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
from flowerml.tracking.client.errors import is_content_error, is_server_response, short_reason
from flowerml.tracking.delivery.batches import describe_event, next_batch, split_record, upload_s
from flowerml.tracking.delivery.reconcile import (
    FILE_S,
    delete_duplicate_runs,
    ensure_terminated,
    launcher_id_at,
    upload_missing_files,
)
from flowerml.tracking.delivery.run_lookup import (
    HEARTBEAT,
    create_journal_run,
    find_journal_run,
    find_run,
    get_launcher_run,
    run_heartbeat,
)
from flowerml.tracking.delivery.run_writer import RunWriter

logger = logging.getLogger(__name__)

_ANSWER_S = 5.0  # how long an answer is waited for


def _nothing() -> None:
    """For whoever need not hear of answers."""


class JournalDelivery:
    """Delivers a journal to the tracking store that is set. One process at a time has it: a lock that goes with the
    process.

    `heard` is called at every answer of the server. `superseded`: another run was begun in the folder since, and the
    files there may be that one's. What is delivered stands in `delivered.json` once it was answered: a process that
    dies between the two repeats it, and that adds nothing.
    """

    def __init__(self, journal: Journal, heard: Callable[[], None] = _nothing, *, superseded: bool = False) -> None:
        """Raises Busy, or OSError where the journal is gone."""
        self.journal = journal
        self._heard = heard
        self._superseded = superseded
        self._hold = JournalLock(journal.folder / JOURNAL)
        state = read_delivered(journal.folder)
        self._state = replace(state, bytes=min(state.bytes, journal.end))
        self._run: tuple[MlflowClient, RunWriter] | None = None
        self._last_words: Ended | None = None
        self._is_over = False
        self._damaged: set[int] = set()
        self._unanswered = False

    @property
    def run_id(self) -> str:
        """MLflow's id of the run; empty until it is known."""
        return self._state.run_id

    @property
    def is_open(self) -> bool:
        """Whether the run is known to be there."""
        return self._run is not None

    def close(self) -> None:
        """Let others deliver it."""
        self._hold.release()

    def add_final_status(self, ended: Ended) -> None:
        """An end that the journal could not take any more (a full disk): it is delivered all the same."""
        self._last_words, self._is_over = ended, True

    def pending(self) -> int:
        """How many records are not delivered. Raises OSError where the journal is gone."""
        found = self.journal.records(self._state.bytes)
        return sum(not isinstance(one, DamagedLine) for one in found) + (self._last_words is not None)

    def upload_s(self) -> float:
        """How long a slow server may take for the next record, if that is a file, in seconds. Raises OSError as
        `waiting`.
        """
        batch = next_batch(self.journal, self._state.bytes)
        return upload_s(batch.records[0]) if batch and batch.records else 0.0

    def open(self, opened: str | None = None, *, alive: bool = False) -> None:
        """Find the journal's run, or make it. `opened` is the run `mlflow run` has opened for this process; `alive`: it
        trains.

        Raises:
            UserError: the run can't be there: a deleted experiment, an `opened` that the store does not have, a journal
                without beginning.
            Exception: whatever MLflow raises.
        """
        self._settle_store()
        set_request_timeout(_ANSWER_S)
        client = connect()
        if opened:
            get_launcher_run(client, opened)
            self._heard()
        run = find_run(client, self.run_id)
        if self.run_id:
            self._heard()
        if run is None and self.run_id:
            logger.warning(
                f"run {self.run_id} is not at MLflow any more: {self.journal.root} goes into a new run, from its"
                " beginning"
            )
            self._keep(replace(self._state, run_id="", bytes=0))
        if run is None:
            run = find_journal_run(client, self._opening(), self._heard) or self._made(
                client, self._opening(), alive=alive
            )
        self._keep(replace(self._state, run_id=run.info.run_id))
        self._run = client, RunWriter(client, run)
        if alive:
            self.send_heartbeat()
        self._heard()

    def send_heartbeat(self) -> None:
        """Say at MLflow that the run is alive. Raises whatever MLflow raises."""
        set_request_timeout(_ANSWER_S)
        self._client.set_tag(self.run_id, HEARTBEAT, run_heartbeat())

    def assert_running(self) -> None:
        """RUNNING again where somebody has taken the run for dead, or a launcher has ended it whose own process had
        been followed by this one. Nothing once the run has ended. Raises whatever MLflow raises.
        """
        if self._is_over or self.journal.ended is not None:
            return
        set_request_timeout(_ANSWER_S)
        if self._client.get_run(self.run_id).info.status != "RUNNING":
            self._writer.set_running()

    def deliver_batch(self) -> bool:
        """Deliver some records; False where there are none. Raises whatever MLflow raises, or OSError where the journal
        is gone.
        """
        batch = next_batch(self.journal, self._state.bytes)
        if batch is None:
            return self._say_last_words()
        for damage in batch.damages:
            self._name(damage)
        set_request_timeout(_ANSWER_S)
        try:
            self._write(batch.records)
        except Exception as error:
            self._unanswered = self._unanswered or not is_server_response(error)
            if not is_content_error(error):
                raise
            if self._is_lost():
                return True
            for record in batch.records:
                self._write_or_name(record)
        self._keep(replace(self._state, bytes=batch.end))
        self._heard()
        return True

    @property
    def _client(self) -> MlflowClient:
        assert self._run is not None
        return self._run[0]

    @property
    def _writer(self) -> RunWriter:
        assert self._run is not None
        return self._run[1]

    def _opening(self) -> RunStarted:
        if self.journal.started is None:
            raise UserError(
                f"{self.journal.path}: its first line is damaged, so which run it belongs to is lost; nothing can be"
                " delivered"
            )
        return self.journal.started

    def _made(self, client: MlflowClient, opening: RunStarted, *, alive: bool) -> Run:
        """A new run. Noted before it is asked for, so that whoever goes on, whenever, looks for a second one."""
        before = self._state
        self._keep(replace(before, unclear=True))
        run = create_journal_run(client, opening, {HEARTBEAT: run_heartbeat(None if alive else opening)})
        self._keep(replace(before, run_id=run.info.run_id))
        return run

    def _settle_store(self) -> None:
        """Everything anew where the journal was being delivered to another store."""
        here = store_name(get_tracking_uri())
        if self._state.store and self._state.store != here:
            if self.run_id:
                logger.info(
                    f"{self.journal.root}: recorded at {self._state.store} so far; everything goes into a new run at"
                    f" {here}"
                )
            self._keep(Delivered(here))
        self._keep(replace(self._state, store=here))

    def _is_lost(self) -> bool:
        """Whether the run is not there any more; then everything begins anew with `open`."""
        if find_run(self._client, self.run_id) is None:
            self._run = None
        return self._run is None

    def _name(self, damage: DamagedLine) -> None:
        if damage.end not in self._damaged:
            logger.warning(
                f"{self.journal.path}, line {damage.line}: {damage.reason}; what it held is lost to MLflow, everything"
                " else goes there"
            )
        self._damaged.add(damage.end)

    def _write(self, records: Sequence[Record]) -> None:
        together = [record for record in records if isinstance(record, Params | Metrics | Tags)]
        if together:
            self._writer.write_batch(together)
            return
        for record in records:
            match record:
                case RunStarted():
                    self._mark_as_launcher(record.opened)
                case RunResumed():
                    self._is_over = False
                    self._writer.set_running()
                    self._mark_as_launcher(record.opened)
                case Artifact(path) if self._superseded and path.is_relative_to(self.journal.root):
                    logger.warning(
                        f"{path} may be a later run's, started over in its folder: the earlier one is delivered without"
                        " this file"
                    )
                case Artifact(path) if not path.is_file():
                    logger.warning(f"{path} is gone before MLflow had it: the run is delivered without this file")
                case Artifact():
                    set_request_timeout(FILE_S + upload_s(record))
                    self._writer.write(record)
                case Ended():
                    self._end(record)
                case _:
                    self._writer.write(record)

    def _mark_as_launcher(self, opened: str | None) -> None:
        """What `mlflow run` has opened for an attempt only launched it, where it is not the journal's own run."""
        if opened and opened != self.run_id:
            self._writer.mark_as_launcher(opened)

    def _end(self, ended: Ended) -> None:
        self._is_over = True
        if is_remote(get_tracking_uri()) and not self._superseded:
            upload_missing_files(self._client, self._writer, self.journal, self._heard)
        opened = launcher_id_at(self.journal, self._state.bytes)
        self._writer.write(ended, opened if opened != self.run_id else None)
        if self._unanswered:
            ensure_terminated(self._client, self._writer, ended)
        if self._state.unclear:
            delete_duplicate_runs(self._client, self.run_id, self.journal)
            self._keep(replace(self._state, unclear=False))

    def _say_last_words(self) -> bool:
        if self._last_words is None:
            return False
        self._end(self._last_words)
        self._last_words = None
        return True

    def _write_or_name(self, record: Record) -> None:
        """Write what the server takes of a record, and name what it does not."""
        for piece in split_record(record):
            try:
                self._write([piece])
            except Exception as error:
                if not is_content_error(error):
                    raise
                logger.warning(
                    f"MLflow does not take {describe_event(piece)} ({short_reason(error)}): it stands in {self.journal.path} only"
                )

    def _keep(self, state: Delivered) -> None:
        """Raises FileNotFoundError where the folder is gone. A full disk only lets the next process repeat something."""
        if state != self._state:
            self._state = state
            try:
                write_delivered(self.journal.folder, state)
            except OSError as error:
                if isinstance(error, FileNotFoundError):
                    raise
