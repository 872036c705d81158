"""The logged model of a run: what it is called, what it was measured on, and its metrics; the weights are the run's."""

import re
from collections.abc import Mapping
from functools import cached_property

from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_SOURCE_NAME, MLFLOW_SOURCE_TYPE

from flowerml.events import TrainedModel

_FORBIDDEN = re.compile(r"[/:.%\"']")  # in the name of a logged model
_NAME_LIMIT = 200
_SOURCE = (MLFLOW_SOURCE_NAME, MLFLOW_SOURCE_TYPE)  # "Logged from" in the list of models
_TYPE = "image classifier"
_CONTEXTS = {"train": "training", "test": "test"}  # by the first word of a metric's name; all others: validation
# Of an MLflow before 3 (its pages answer 404), or of a plugin's store. The experiment is there: the run is in it.
_WITHOUT_MODELS = ("ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED", "RESOURCE_DOES_NOT_EXIST")


class RunModels:
    """Finds and creates the logged model of one run. Methods raise what MLflow raises."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client = client
        self._run_id = run_id
        self._id: str | None = None

    @cached_property
    def _run(self) -> Run:
        """The run with its datasets, as it is when they are first asked for: they are recorded at its start."""
        return self._client.get_run(self._run_id)

    def create(self, model: TrainedModel) -> None:
        """Create the run's model, READY; nothing where it has one, or where the server knows none."""
        if self.find() is not None:
            return
        try:
            logged = self._client.create_logged_model(
                self._run.info.experiment_id,
                _FORBIDDEN.sub("_", model.name)[:_NAME_LIMIT],
                self._run_id,
                tags={name: self._run.data.tags[name] for name in _SOURCE if name in self._run.data.tags},
                params=dict(model.params),
                model_type=_TYPE,
            )
        except MlflowException as error:
            if error.error_code not in _WITHOUT_MODELS:
                raise
            return
        self._client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
        self._client.log_outputs(self._run_id, [LoggedModelOutput(logged.model_id, step=0)])
        self._id = str(logged.model_id)

    def find(self) -> str | None:
        """The id of the run's model; None without one."""
        if self._id is None:
            outputs = self._run.outputs
            models = outputs.model_outputs if outputs else []
            self._id = str(models[0].model_id) if models else None
        return self._id

    def dataset_of(self, metric: str) -> Mapping[str, str]:
        """Name and digest of the run's dataset that a metric was measured on, as keywords of `Metric`."""
        context = _CONTEXTS.get(metric.partition("_")[0], "validation")
        for used in self._run.inputs.dataset_inputs if self._run.inputs else []:
            if any((tag.key, tag.value) == (MLFLOW_DATASET_CONTEXT, context) for tag in used.tags):
                return {"dataset_name": used.dataset.name, "dataset_digest": used.dataset.digest}
        return {}
