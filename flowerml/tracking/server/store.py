"""The database of a server, before it starts: created or migrated by one process, not by several at once."""

from flowerml.tracking.client.connection import connect
from flowerml.tracking.client.failures import to_user_error


def prepare_store() -> None:
    """Create the tables of the current tracking store, or migrate those of an earlier MLflow.

    Raises:
        UserError: the database can't be reached, or refuses.
    """
    try:
        connect().search_experiments(max_results=1)
    except Exception as error:  # MLflow, SQLAlchemy and drivers each raise their own
        raise to_user_error(error) from error
