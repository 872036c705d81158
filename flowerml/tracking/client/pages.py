"""Addresses of MLflow's pages, in the view for model training.

Without `workflowType` MLflow 3 opens its view for GenAI, which has no model registry and calls runs evaluations.
"""

from urllib.parse import quote

from mlflow.tracking import get_tracking_uri
from mlflow.utils.uri import get_uri_scheme

from flowerml.redaction import redact_secrets
from flowerml.tracking.client.runs import find_run
from flowerml.tracking.client.store_client import StoreClient

_VIEW = "workflowType=machine_learning"


def run_page(experiment_id: str, run_id: str) -> str:
    """The part of a run's address after the server's."""
    return f"#/experiments/{experiment_id}/runs/{run_id}?{_VIEW}"


def artifact_page(experiment_id: str, run_id: str, path: str) -> str:
    """The part of the address of a run's artifact after the server's."""
    return f"#/experiments/{experiment_id}/runs/{run_id}/artifacts/{quote(path)}?{_VIEW}"


def runs_page(experiment_id: str, search: str = "") -> str:
    """The part of the address of an experiment's runs after the server's; `search` as in MLflow's search field."""
    found = f"&searchFilter={quote(search, safe='')}" if search else ""
    return f"#/experiments/{experiment_id}/runs?{_VIEW}{found}"


def view_page(experiment_id: str, key: str) -> str:
    """The part of the address of an experiment's runs in a shared view after the server's."""
    return f"#/experiments/{experiment_id}/runs?{_VIEW}&viewStateShareKey={quote(key)}"


def version_page(name: str, version: str) -> str:
    """The part of the address of a version of a registered model after the server's."""
    return f"#/models/{quote(name)}/versions/{version}?{_VIEW}"


def experiments_page() -> str:
    """The part of the address of the list of experiments after the server's."""
    return f"#/experiments?{_VIEW}"


def registry_page() -> str:
    """The part of the address of the model registry after the server's."""
    return f"#/models?{_VIEW}"


def where_to_look(run_id: str | None) -> str:
    """Where a person sees a run: its address at a tracking server, or `flowerml ui` for a store without pages.

    "MLflow" for a server that does not answer now.
    """
    address = get_tracking_uri()
    if not has_pages(address):
        return "`flowerml ui` shows it"
    try:
        run = find_run(StoreClient(), run_id)
    except Exception:  # MLflow and requests each raise their own, and the run itself is over
        run = None
    if run is None:
        return "MLflow"
    return redact_secrets(f"{address.rstrip('/')}/{run_page(str(run.info.experiment_id), str(run.info.run_id))}")


def has_pages(address: str) -> bool:
    """Whether a tracking store is a server, which has pages of its own."""
    return get_uri_scheme(address) in ("http", "https")
