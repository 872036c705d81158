"""Reconcile the server with the journal as the run ends: find lost files, delete duplicates, fix the status."""

from collections.abc import Callable, Iterator
from functools import partial

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from flowerml.events import Artifact, Ended
from flowerml.journal import DamagedLine, Journal, Record, RunResumed, RunStarted
from flowerml.tracking.client.artifacts import IsLate, call_artifact_store
from flowerml.tracking.delivery.run_lookup import runs_of_journal
from flowerml.tracking.delivery.run_writer import RunWriter


def missing_files(
    client: MlflowClient, run: Run, journal: Journal, is_late: IsLate, on_response: Callable[[], None]
) -> dict[int, Artifact]:
    """The journal's files that the server lacks or has with another size, by the offset where their record ends.

    MLflow takes a proxy's HTML page for success. `on_response` is called at every response.

    Raises:
        ArtifactStoreError: it can't be asked.
        Exception: what MLflow raises.
    """
    files = {
        (record.folder, record.path.name): (end, record)
        for record, end in _records_with_end(journal)
        if isinstance(record, Artifact) and record.path.is_file()
    }
    missing: dict[int, Artifact] = {}
    for folder in {name for name, _ in files}:
        listed = call_artifact_store(
            client,
            run,
            partial(client.list_artifacts, run.info.run_id, folder or None),
            lambda waited_s: is_late(waited_s, 0.0),
        )
        on_response()
        sizes = {file.path.rsplit("/", 1)[-1]: file.file_size for file in listed}
        missing |= {
            end: record
            for (within, name), (end, record) in files.items()
            if within == folder and sizes.get(name, -1) not in (record.path.stat().st_size, None)
        }
    return missing


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
