"""The MLflow client of flowerml: a call that returns has been answered, and no store rejects its texts."""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from mlflow.entities import LoggedModel, Metric, Param, Run, RunTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from flowerml.text import storable

logger = logging.getLogger(__name__)

_ACTIVE_MODEL = ("MLFLOW_ACTIVE_MODEL_ID", "_MLFLOW_ACTIVE_MODEL_ID")


class StoreClient(MlflowClient):
    """`MlflowClient` whose logging ignores MLFLOW_ENABLE_ASYNC_LOGGING, and whose texts are made storable.

    With that variable MLflow's own client queues in memory and returns: an error is lost, and so are the values. A
    database or an HTTP server rejects some texts (see `flowerml.text.storable`), after the work. Methods raise what
    MLflow raises.
    """

    def __init__(self, tracking_uri: str | None = None) -> None:
        """A client of the store at `tracking_uri`; default: the current one."""
        _ignore_active_model()
        super().__init__(tracking_uri)

    def create_run(
        self,
        experiment_id: str,
        start_time: int | None = None,
        tags: Mapping[str, Any] | None = None,
        run_name: str | None = None,
    ) -> Run:
        """As MLflow's."""
        return super().create_run(experiment_id, start_time, _storable_values(tags), _storable_or_none(run_name))

    def update_run(self, run_id: str, status: str | None = None, name: str | None = None) -> None:
        """As MLflow's."""
        super().update_run(run_id, status, _storable_or_none(name))

    def log_metric(self, run_id: str, key: str, value: float, *args: Any, **options: Any) -> None:  # noqa: ANN401
        """As MLflow's, with its answer."""
        super().log_metric(run_id, key, value, *args, **{**options, "synchronous": True})

    def log_param(self, run_id: str, key: str, value: object, synchronous: bool | None = None) -> object:  # noqa: FBT001
        """As MLflow's, with its answer."""
        return super().log_param(run_id, key, storable(str(value)), synchronous=True)

    def set_tag(self, run_id: str, key: str, value: object, synchronous: bool | None = None) -> None:  # noqa: FBT001
        """As MLflow's, with its answer."""
        super().set_tag(run_id, storable(key), storable(str(value)), synchronous=True)

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Sequence[Param] = (),
        tags: Sequence[RunTag] = (),
        synchronous: bool | None = None,  # noqa: FBT001
    ) -> None:
        """As MLflow's, with its answer."""
        params = [Param(param.key, storable(param.value)) for param in params]
        tags = [RunTag(storable(tag.key), storable(tag.value)) for tag in tags]
        super().log_batch(run_id, metrics, params, tags, synchronous=True)

    def create_logged_model(
        self,
        experiment_id: str,
        name: str | None = None,
        source_run_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        model_type: str | None = None,
    ) -> LoggedModel:
        """As MLflow's."""
        values = _storable_values(tags), _storable_values(params)
        return super().create_logged_model(experiment_id, name, source_run_id, *values, model_type)

    def create_model_version(
        self,
        name: str,
        source: str,
        run_id: str | None = None,
        tags: Mapping[str, Any] | None = None,
        run_link: str | None = None,
        description: str | None = None,
        await_creation_for: int = 300,
        model_id: str | None = None,
    ) -> ModelVersion:
        """As MLflow's."""
        texts = _storable_values(tags), run_link, _storable_or_none(description)
        return super().create_model_version(name, source, run_id, *texts, await_creation_for, model_id)


def _storable_or_none(text: str | None) -> str | None:
    return None if text is None else storable(text)


def _storable_values(values: Mapping[str, Any] | None) -> dict[str, str] | None:
    return None if values is None else {storable(key): storable(str(value)) for key, value in values.items()}


def _ignore_active_model() -> None:
    """Remove MLflow's active model from the environment: each metric would be that model's too, or be refused."""
    for name in _ACTIVE_MODEL:
        if os.environ.get(name):
            logger.warning(f"{name} does nothing here: the metrics of a run are its own, not those of another model")
            del os.environ[name]
