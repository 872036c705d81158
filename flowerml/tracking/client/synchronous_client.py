"""MLflow's client without asynchronous logging: a call that returns has been answered by the server."""

import logging
import os
from collections.abc import Sequence
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

logger = logging.getLogger(__name__)

_ACTIVE_MODEL = ("MLFLOW_ACTIVE_MODEL_ID", "_MLFLOW_ACTIVE_MODEL_ID")


class SynchronousClient(MlflowClient):
    """`MlflowClient` whose logging ignores MLFLOW_ENABLE_ASYNC_LOGGING.

    With it MLflow's own client queues in memory and returns: an error is lost, and so are the values. Methods raise
    what MLflow raises.
    """

    def __init__(self, tracking_uri: str | None = None) -> None:
        """A client of the store at `tracking_uri`; default: the current one."""
        _ignore_active_model()
        super().__init__(tracking_uri)

    def log_metric(self, run_id: str, key: str, value: float, *args: Any, **options: Any) -> None:  # noqa: ANN401
        """As MLflow's, with its answer."""
        super().log_metric(run_id, key, value, *args, **{**options, "synchronous": True})

    def log_param(self, run_id: str, key: str, value: object, synchronous: bool | None = None) -> object:  # noqa: FBT001
        """As MLflow's, with its answer."""
        return super().log_param(run_id, key, value, synchronous=True)

    def set_tag(self, run_id: str, key: str, value: object, synchronous: bool | None = None) -> None:  # noqa: FBT001
        """As MLflow's, with its answer."""
        super().set_tag(run_id, key, value, synchronous=True)

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Sequence[Param] = (),
        tags: Sequence[RunTag] = (),
        synchronous: bool | None = None,  # noqa: FBT001
    ) -> None:
        """As MLflow's, with its answer."""
        super().log_batch(run_id, metrics, params, tags, synchronous=True)


def _ignore_active_model() -> None:
    """Remove MLflow's active model from the environment: each metric would be that model's too, or be refused."""
    for name in _ACTIVE_MODEL:
        if os.environ.get(name):
            logger.warning(f"{name} does nothing here: the metrics of a run are its own, not those of another model")
            del os.environ[name]
