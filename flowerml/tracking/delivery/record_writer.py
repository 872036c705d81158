"""Write journal records into the journal's MLflow run: which request each kind of record becomes."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from flowerml.events import Artifact, Metrics, Params, Tags
from flowerml.journal import Journal, Record, RunResumed, RunStarted
from flowerml.tracking.client.artifacts import UPLOAD_TIMEOUT_S, IsLate
from flowerml.tracking.client.connection import set_request_timeout
from flowerml.tracking.client.errors import is_content_error, short_reason
from flowerml.tracking.delivery.batches import describe_event, estimate_upload_s, split_record
from flowerml.tracking.delivery.run_writer import RunWriter
from flowerml.tracking.environment.env_run import find_opened_run

logger = logging.getLogger(__name__)


class RecordWriter:
    """Writes the records of `journal` into `run`. Methods raise what MLflow raises.

    `is_late` says when an upload is given up. `superseded`: the folder was reused by a later run, and files in it may
    be that run's.
    """

    def __init__(self, client: MlflowClient, run: Run, journal: Journal, *, is_late: IsLate, superseded: bool) -> None:
        self.client = client
        self.run = run
        self.run_writer = RunWriter(client, run, is_late)
        self._journal = journal
        self._superseded = superseded

    def write(self, records: Sequence[Record]) -> None:
        """Write a batch: metrics, params and tags in one request, or any other record alone."""
        batchable = [record for record in records if isinstance(record, Params | Metrics | Tags)]
        if batchable:
            self.run_writer.write_batch(batchable)
            return
        for record in records:
            self._write_single(record)

    def _write_single(self, record: Record) -> None:
        match record:
            case RunStarted():
                self._mark_launcher(record)
            case RunResumed():
                self.run_writer.set_running()
                self._mark_launcher(record)
            case Artifact(path) if self._superseded and path.is_relative_to(self._journal.root):
                logger.warning(
                    f"{path} may be a later run's, started over in its folder: the earlier one is delivered without"
                    " this file"
                )
            case Artifact(path) if not path.is_file():
                logger.warning(f"{path} is gone before MLflow had it: the run is delivered without this file")
            case Artifact():
                set_request_timeout(UPLOAD_TIMEOUT_S + estimate_upload_s(record))
                self.run_writer.write(record)
            case _:
                self.run_writer.write(record)

    def _mark_launcher(self, attempt: RunStarted | RunResumed) -> None:
        """Mark the run that `mlflow run` has opened for an attempt as a launcher if it is not the journal's own run."""
        if attempt.opened is None or attempt.opened == self.run_writer.run_id:
            return
        if find_opened_run(self.client, attempt.opened, attempt.timestamp, continued=self.run_writer.run_id):
            self.run_writer.mark_as_launcher(attempt.opened)


def write_acceptable(record: Record, write: Callable[[Sequence[Record]], None], journal_path: Path) -> None:
    """Write what the server accepts of a record it has rejected, one name at a time, and log what it rejects."""
    for event in split_record(record):
        try:
            write([event])
        except Exception as error:
            if not is_content_error(error):
                raise
            logger.warning(
                f"MLflow does not take {describe_event(event)} ({short_reason(error)}): it stands in {journal_path}"
                " only"
            )
