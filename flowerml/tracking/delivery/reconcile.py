"""Reconcile the server with the journal as the run ends: upload lost files, delete duplicates, fix the status."""

from collections.abc import Callable, Iterator

from mlflow.tracking import MlflowClient

from flowerml.events import Artifact, Ended
from flowerml.journal import DamagedLine, Journal, Record, RunResumed, RunStarted
from flowerml.tracking.client.connection import set_request_timeout
from flowerml.tracking.delivery.batches import estimate_upload_s
from flowerml.tracking.delivery.run_lookup import runs_of_journal
from flowerml.tracking.delivery.run_writer import RunWriter

UPLOAD_TIMEOUT_S = 30.0  # for the response to an upload, in addition to the estimated upload time


def upload_missing_files(
    client: MlflowClient, writer: RunWriter, journal: Journal, on_response: Callable[[], None]
) -> None:
    """Upload files that the server lacks or has with another size: MLflow takes a proxy's HTML page for success.

    `on_response` is called at every response. Raises what MLflow raises.
    """
    artifacts = [
        record for record, _ in _records_with_end(journal) if isinstance(record, Artifact) and record.path.is_file()
    ]
    for folder in {artifact.folder for artifact in artifacts}:
        sizes = {
            file.path.rsplit("/", 1)[-1]: file.file_size
            for file in client.list_artifacts(writer.run_id, folder or None)
        }
        on_response()
        for artifact in {entry.path: entry for entry in artifacts if entry.folder == folder}.values():
            if sizes.get(artifact.path.name, -1) not in (artifact.path.stat().st_size, None):
                set_request_timeout(UPLOAD_TIMEOUT_S + estimate_upload_s(artifact))
                writer.write(artifact)
                on_response()


def ensure_terminated(client: MlflowClient, writer: RunWriter, ended: Ended) -> None:
    """Terminate the run again if an older request, delayed on the network, changed its status. Raises as MLflow."""
    if client.get_run(writer.run_id).info.status != ended.status.value:
        writer.write(ended)


def delete_duplicate_runs(client: MlflowClient, run_id: str, journal: Journal) -> None:
    """Delete other runs of the journal, created by requests that timed out but were executed. Raises as MLflow."""
    if journal.started is None:
        return
    experiment = client.get_run(run_id).info.experiment_id
    for run in runs_of_journal(client, experiment, journal.started.journal):
        if run.info.run_id != run_id:
            client.delete_run(run.info.run_id)


def env_run_id_at(journal: Journal, offset: int) -> str | None:
    """The MLFLOW_RUN_ID of the attempt that wrote at this offset of the journal."""
    env_run_id = None
    for record, end in _records_with_end(journal):
        if end > offset:
            break
        if isinstance(record, RunStarted | RunResumed):
            env_run_id = record.opened
    return env_run_id


def _records_with_end(journal: Journal) -> Iterator[tuple[Record, int]]:
    for entry in journal.records():
        if not isinstance(entry, DamagedLine):
            yield entry.record, entry.end
