"""Variables of MLflow that ask for something that flowerml does not do."""

import logging

from mlflow.environment_variables import MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING

logger = logging.getLogger(__name__)


def warn_of_ignored_variables() -> None:
    """Log a line for each variable that is set and does nothing here."""
    try:
        is_asked = bool(MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING.get())
    except ValueError:  # neither true nor false
        is_asked = True
    if is_asked:
        logger.warning(
            f"{MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING.name} does nothing here: flowerml logs no system metrics (CPU,"
            " memory, GPU) yet"
        )
