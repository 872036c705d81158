"""The MLflow client of flowerml: it waits for each answer, and escapes what no store takes in texts."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlflow.entities import LoggedModel, Metric, Param, Run, RunTag
from mlflow.entities.model_registry import ModelVersion

from flowerml.text import storable
from flowerml.tracking.client.synchronous_client import SynchronousClient


class TextClient(SynchronousClient):
    """A synchronous `MlflowClient` with texts made storable (`flowerml.text.storable`) before they are sent.

    A database or an HTTP server rejects them otherwise, after the work. All texts of flowerml go through these methods.
    """

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

    def set_tag(self, run_id: str, key: str, value: Any, synchronous: bool | None = None) -> Any:  # noqa: ANN401, FBT001
        """As MLflow's."""
        return super().set_tag(run_id, storable(key), storable(str(value)), synchronous)

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Sequence[Param] = (),
        tags: Sequence[RunTag] = (),
        synchronous: bool | None = None,  # noqa: FBT001
    ) -> Any:  # noqa: ANN401
        """As MLflow's."""
        params = [Param(param.key, storable(param.value)) for param in params]
        tags = [RunTag(storable(tag.key), storable(tag.value)) for tag in tags]
        return super().log_batch(run_id, metrics, params, tags, synchronous)

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
