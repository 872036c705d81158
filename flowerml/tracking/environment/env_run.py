"""The run that `mlflow run` has opened for this process (MLFLOW_RUN_ID), told from any other run of that id.

A shell, a notebook or a parent process may still have the variable of a run of its own. Such a run is left alone.
"""

import logging
import os

import psutil
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient, get_tracking_uri

from flowerml.errors import UserError
from flowerml.redaction import redact_secrets
from flowerml.tracking.client.connection import connect, set_request_timeout
from flowerml.tracking.client.errors import is_unknown_run
from flowerml.tracking.client.runs import CONTINUES, JOURNAL_TAG, KIND, PREFIX, find_run

logger = logging.getLogger(__name__)

ENV_RUN_ID = "MLFLOW_RUN_ID"
_PROJECT_TAGS = "mlflow.project."  # set by `mlflow run` on every run that it opens, or is given
_TIMEOUT_S = 2.0

_is_own: dict[tuple[str, str], bool] = {}  # by store and run id: whether this process took the run for its own


def get_env_run(client: MlflowClient, env_run_id: str | None) -> Run | None:
    """The run that `mlflow run` has opened for this process, by the id in MLFLOW_RUN_ID; None without one.

    Any other run is left alone: a warning says so, once, and the variable is removed from this process's environment.

    Raises:
        UserError: the store does not have the run, or it was deleted.
        Exception: what MLflow raises.
    """
    if not env_run_id:
        return None
    run = _existing_run(client, env_run_id)
    key = (get_tracking_uri(), env_run_id)
    if key not in _is_own:
        reason = foreign_reason(run, int(psutil.Process().create_time() * 1000))
        _is_own[key] = not reason
        if reason:
            logger.warning(
                f"MLFLOW_RUN_ID {env_run_id} {reason}: it is left as it is, and a run of its own is made (unset"
                " MLFLOW_RUN_ID)"
            )
    if _is_own[key]:
        return run
    if os.environ.get(ENV_RUN_ID) == env_run_id:
        del os.environ[ENV_RUN_ID]
    return None


def own_env_run_id() -> str | None:
    """The id in MLFLOW_RUN_ID once its run was found to be this process's own; else None. Asks no server."""
    env_run_id = os.environ.get(ENV_RUN_ID)
    return env_run_id if env_run_id and _is_own.get((get_tracking_uri(), env_run_id)) else None


def ignore_foreign_env_run() -> None:
    """Remove MLFLOW_RUN_ID from the environment, with a warning, if its run was not opened for this process.

    For commands that act on the variable before they need the tracking store, which may be away: then nothing is
    decided here. Never raises.
    """
    env_run_id = os.environ.get(ENV_RUN_ID)
    if not env_run_id:
        return
    set_request_timeout(_TIMEOUT_S)
    try:
        get_env_run(connect(), env_run_id)
    except Exception:  # of the store: the command reports it when it needs the store
        return


def foreign_reason(run: Run, since: int, journal: str | None = None) -> str:
    """Why a run can't be the one that `mlflow run` has opened, as a predicate; "" if it can.

    `since` is when the process it was opened for was at work (ms): a run that had ended by then is not the one. A run
    that this `journal` has adopted already is.
    """
    tags = run.data.tags
    if journal is not None and tags.get(JOURNAL_TAG) == journal:
        return ""
    if any(name.startswith(PREFIX) for name in tags):
        return f"is a run of flowerml already ({run.info.run_name}, {run.info.status})"
    if not any(name.startswith(_PROJECT_TAGS) for name in tags):
        return f"is a run that `mlflow run` has not opened ({run.info.run_name}, {run.info.status})"
    if run.info.status != "RUNNING" and (run.info.end_time or 0) < since:
        return f"is a run that has ended ({run.info.run_name}, {run.info.status})"
    return ""


def find_opened_run(
    client: MlflowClient, env_run_id: str | None, since: int, journal: str | None = None, continued: str = ""
) -> Run | None:
    """The run that `mlflow run` has opened for an attempt at time `since` (ms); None if it is another run, or gone.

    `journal` is the attempt's journal, `continued` the run that the attempt goes on with. Raises what MLflow raises.
    """
    run = find_run(client, env_run_id)
    if run is None or run.info.run_id == continued:
        return None
    is_launcher = run.data.tags.get(KIND) == "launcher" and run.data.tags.get(CONTINUES) == continued != ""
    return run if is_launcher or not foreign_reason(run, since, journal) else None


def _existing_run(client: MlflowClient, env_run_id: str) -> Run:
    store = redact_secrets(get_tracking_uri())
    remedy = "unset it, or set MLFLOW_TRACKING_URI to the store that has it"
    try:
        run = client.get_run(env_run_id)
    except MlflowException as error:
        if not is_unknown_run(error):
            raise
        raise UserError(
            f"MLFLOW_RUN_ID {env_run_id} is no run of the MLflow tracking store {store}: {remedy}"
        ) from error
    if run.info.lifecycle_stage != "active":
        raise UserError(f"MLFLOW_RUN_ID {env_run_id} was deleted in the MLflow tracking store {store}: {remedy}")
    return run
