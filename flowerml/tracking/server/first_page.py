"""The page that a person opens first."""

from mlflow.tracking import get_tracking_uri

from flowerml.errors import UserError
from flowerml.redaction import redact_secrets
from flowerml.tracking.client.connection import connect
from flowerml.tracking.client.failures import to_user_error
from flowerml.tracking.client.pages import experiments_page, has_pages, runs_page


def own_pages() -> str | None:
    """The address of the current tracking store's pages, None for a store without a server."""
    address = get_tracking_uri()
    return redact_secrets(address).rstrip("/") if has_pages(address) else None


def current_store() -> str:
    """The address of the current tracking store, with its password."""
    return str(get_tracking_uri())


def first_page(experiment: str | None) -> str:
    """The part of an address after the server's: the runs of `experiment`, or of the one changed last; else the list.

    Raises:
        UserError: the store can't be read, or has no such experiment.
    """
    try:
        client = connect()
        found = client.search_experiments(order_by=["last_update_time DESC"])
        if experiment is None:
            used = next((one for one in found if client.search_runs([one.experiment_id], max_results=1)), None)
            return experiments_page() if used is None else runs_page(str(used.experiment_id))
    except Exception as error:  # MLflow, SQLAlchemy and requests each raise their own
        raise to_user_error(error) from error
    for one in found:
        if one.name == experiment:
            return runs_page(str(one.experiment_id))
    names = ", ".join(one.name for one in found)
    raise UserError(
        f"--experiment {experiment}: {redact_secrets(get_tracking_uri())} has none of that name. It has {names}"
    )
