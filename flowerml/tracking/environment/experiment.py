"""The experiment of a run if no flag names one: MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID."""

import logging
import os

from mlflow.exceptions import MlflowException
from mlflow.tracking import get_tracking_uri

from flowerml.errors import UserError
from flowerml.tracking.client.connection import connect, set_request_timeout
from flowerml.tracking.client.errors import is_unknown_run, redact_secrets
from flowerml.tracking.client.failures import find_failure, is_permanent, to_user_error
from flowerml.tracking.environment.env_run import ENV_RUN_ID, ignore_foreign_env_run

logger = logging.getLogger(__name__)

_NAME, _ID = "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"
_LIMIT = 256  # characters, as of --experiment
_TIMEOUT_S = 5.0


def default_experiment() -> str | None:
    """The name of the experiment that the environment names, as MLflow reads it; None without one.

    Also None under `mlflow run`, whose run is in an experiment already. While the tracking store is away, an id can't
    be looked up: then a warning says so.

    Raises:
        UserError: the name is too long, or no experiment has that id.
    """
    ignore_foreign_env_run()
    if os.environ.get(ENV_RUN_ID):
        return None
    if name := os.environ.get(_NAME):
        if len(name) > _LIMIT or not name.isprintable() or not name.strip():
            raise UserError(f"{_NAME} is {name!r}. Allowed: text, up to {_LIMIT} characters")
        return name
    experiment_id = os.environ.get(_ID)
    return _look_up(experiment_id) if experiment_id else None


def _look_up(experiment_id: str) -> str | None:
    set_request_timeout(_TIMEOUT_S)
    remedy = "name one with --experiment, or unset it"
    try:
        experiment = connect().get_experiment(experiment_id)
    except Exception as error:  # MLflow, SQLAlchemy and requests each raise their own
        if isinstance(error, MlflowException) and is_unknown_run(error):  # the same codes as for a run
            store = redact_secrets(get_tracking_uri())
            raise UserError(
                f"{_ID} {experiment_id} is no experiment of the MLflow tracking store {store}: {remedy}"
            ) from error
        if is_permanent(error):
            raise to_user_error(error) from error
        logger.warning(f"{_ID} does not count, as {find_failure(error).problem}: {remedy}")
        return None
    if experiment.lifecycle_stage != "active":
        raise UserError(f"{_ID} {experiment_id} is the experiment {experiment.name!r}, which was deleted: {remedy}")
    return str(experiment.name)
