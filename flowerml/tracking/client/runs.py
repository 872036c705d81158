"""A run by its id, and the tags by which flowerml knows its own runs."""

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from flowerml.tracking.client.errors import is_unknown_run

PREFIX = "flowerml."  # of every tag that flowerml sets, but for MLflow's own
KIND = "flowerml.kind"
CONTINUES = "flowerml.continues"
REASON = "flowerml.reason"
JOURNAL_TAG = "flowerml.journal"
NOTE = "mlflow.note.content"


def find_run(client: MlflowClient, run_id: str | None) -> Run | None:
    """A run by its id; None if the store does not have it or it was deleted. Raises what MLflow raises."""
    if not run_id:
        return None
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if not is_unknown_run(error):
            raise
        return None
    return run if run.info.lifecycle_stage == "active" else None
