"""The database of a server, before it starts: created or migrated by one process, not by several at once."""

import os

from flowerml.tracking.client.connection import connect
from flowerml.tracking.client.failures import to_user_error

# By this MLflow's server tells its workers where artifacts are, and a new store where those of its first experiment are
# to be: without it in a folder of whoever creates the store, which clients would then look for on their own machines.
_ARTIFACT_ROOT, _SERVED = "_MLFLOW_SERVER_ARTIFACT_ROOT", "mlflow-artifacts:/"


def prepare_store() -> None:
    """Create the tables of the current tracking store, or migrate those of an earlier MLflow.

    Raises:
        UserError: the database can't be reached, or refuses.
    """
    before = os.environ.get(_ARTIFACT_ROOT)
    os.environ[_ARTIFACT_ROOT] = _SERVED
    try:
        connect().search_experiments(max_results=1)
    except Exception as error:  # MLflow, SQLAlchemy and drivers each raise their own
        raise to_user_error(error) from error
    finally:
        if before is None:
            del os.environ[_ARTIFACT_ROOT]
        else:
            os.environ[_ARTIFACT_ROOT] = before
