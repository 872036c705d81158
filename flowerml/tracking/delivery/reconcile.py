"""The end of a delivery: what a bad network may have lost, doubled or reordered is put right before the run counts as
ended.
"""

from collections.abc import Callable, Iterator

from mlflow.tracking import MlflowClient

from flowerml.events import Artifact, Ended
from flowerml.journal import DamagedLine, Journal, Record, RunResumed, RunStarted
from flowerml.tracking.client.connection import set_request_timeout
from flowerml.tracking.delivery.batches import upload_s
from flowerml.tracking.delivery.run_lookup import runs_of_journal
from flowerml.tracking.delivery.run_writer import RunWriter

FILE_S = 30.0  # how long the answer to a file is waited for, beside what its size takes


def upload_missing_files(client: MlflowClient, writer: RunWriter, journal: Journal, heard: Callable[[], None]) -> None:
    """Files the server does not have, or not whole: a proxy that answers with a page of its own looks like success to
    MLflow.

    `heard` is called at every answer. Raises whatever MLflow raises.
    """
    wanted = [record for record, _ in _records(journal) if isinstance(record, Artifact) and record.path.is_file()]
    for folder in {artifact.folder for artifact in wanted}:
        listed = {
            one.path.rsplit("/", 1)[-1]: one.file_size for one in client.list_artifacts(writer.run_id, folder or None)
        }
        heard()
        for artifact in {one.path: one for one in wanted if one.folder == folder}.values():
            if listed.get(artifact.path.name, -1) not in (artifact.path.stat().st_size, None):
                set_request_timeout(FILE_S + upload_s(artifact))
                writer.write(artifact)
                heard()


def ensure_terminated(client: MlflowClient, writer: RunWriter, ended: Ended) -> None:
    """End the run once more where an older request was heard after the one that ended it. Raises whatever MLflow
    raises.
    """
    if client.get_run(writer.run_id).info.status != ended.status.value:
        writer.write(ended)


def delete_duplicate_runs(client: MlflowClient, run_id: str, journal: Journal) -> None:
    """Delete other runs of the journal: a request that was given up may have been heard after all. Raises whatever
    MLflow raises.
    """
    if journal.started is None:
        return
    experiment = client.get_run(run_id).info.experiment_id
    for other in runs_of_journal(client, experiment, journal.started.journal):
        if other.info.run_id != run_id:
            client.delete_run(other.info.run_id)


def launcher_id_at(journal: Journal, place: int) -> str | None:
    """The run that `mlflow run` has opened for the attempt that wrote at this place of the journal."""
    opened = None
    for record, end in _records(journal):
        if end > place:
            break
        if isinstance(record, RunStarted | RunResumed):
            opened = record.opened
    return opened


def _records(journal: Journal) -> Iterator[tuple[Record, int]]:
    for found in journal.records():
        if not isinstance(found, DamagedLine):
            yield found.record, found.end
