"""Results of `flowerml robustness` in the tracking store, found by the weights that they are of."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient, get_tracking_uri

from flowerml.tracking.client.connection import connect, database_file, set_request_timeout
from flowerml.tracking.client.failures import to_user_error
from flowerml.tracking.search.filters import tag_equals
from flowerml.tracking.search.runs import search_all_experiments

_RESULT = "robustness.json"
_TIMEOUT_S = 5.0


def fetch_robustness(weights_digest: str, *, briefly: bool = False) -> list[dict[str, Any]]:
    """The contents of `robustness.json` of the FINISHED runs of kind `robustness` of these weights, oldest first.

    `weights_digest` is `flowerml.training.checkpoints.weights_digest`'s. Files that are gone or can't be read are
    passed over, and a SQLite store that is not there is not created. `briefly`: a server that does not answer is not
    waited for; later requests of this process have that time-out too.

    Raises:
        UserError: the tracking store can't be reached or refuses.
    """
    file = database_file(get_tracking_uri())
    if file is not None and not file.exists():
        return []
    if briefly:
        set_request_timeout(_TIMEOUT_S)
    condition = " AND ".join(
        [
            tag_equals("kind", "robustness"),
            tag_equals("weights_digest", weights_digest),
            "attributes.status = 'FINISHED'",
        ]
    )
    try:
        client = connect()
        return list(_download(client, [run.info.run_id for run in search_all_experiments(client, condition)]))
    except Exception as error:  # MLflow, SQLAlchemy and requests each raise their own
        raise to_user_error(error) from error


def _download(client: MlflowClient, run_ids: list[str]) -> Iterator[dict[str, Any]]:
    for run_id in run_ids:
        with tempfile.TemporaryDirectory() as scratch:
            try:
                content = json.loads(Path(client.download_artifacts(run_id, _RESULT, scratch)).read_text("utf-8"))
            except (MlflowException, OSError, ValueError):  # its files were deleted, or are on another host
                continue
        if isinstance(content, dict):
            yield content
