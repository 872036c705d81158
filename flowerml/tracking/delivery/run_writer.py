"""Write events into one MLflow run. Idempotent: writing an event again changes nothing."""

import json
from collections.abc import Sequence
from contextlib import suppress

from mlflow.entities import Dataset, InputTag, Metric, Param, Run, RunTag
from mlflow.entities import DatasetInput as MlflowDatasetInput
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from flowerml.events import Artifact, DatasetInput, Ended, Event, Metrics, Params, Status, Tags, TrainedModel
from flowerml.tracking.client.artifacts import IsLate, is_late, upload
from flowerml.tracking.client.errors import is_unknown_run
from flowerml.tracking.client.runs import CONTINUES, KIND, NOTE, REASON, find_run
from flowerml.tracking.delivery.run_models import RunModels
from flowerml.tracking.heartbeat import HEARTBEAT

PARAM_LIMIT = 6000  # characters; MLflow's limits
_TAG_LIMIT = 8000
_DIGEST_LIMIT = 36


class RunWriter:
    """Writes into `run`. Every method raises whatever MLflow, SQLAlchemy and requests raise.

    A file that the artifact store does not take raises ArtifactStoreError.
    """

    def __init__(self, client: MlflowClient, run: Run, is_late: IsLate = is_late) -> None:
        """`is_late` says when an upload is given up."""
        self._client = client
        self._run = run
        self._is_late = is_late
        self.run_id = str(run.info.run_id)
        # Params are immutable. Those logged by `mlflow run` have equal values (see `run_lookup`) and are kept.
        self._logged_params = set(run.data.params)
        self._models = RunModels(client, self.run_id)

    def write(self, event: Event, launcher_id: str | None = None) -> None:
        """Write one event; an `Ended` also terminates the run `launcher_id`."""
        match event:
            case Params() | Metrics() | Tags():
                self.write_batch([event])
            case Artifact(path, folder):
                upload(self._client, self._run, path, folder, self._is_late)
            case DatasetInput(name, digest, source, context, profile):
                data = Dataset(
                    name, digest[:_DIGEST_LIMIT], "local", json.dumps({"uri": source}), profile=profile or None
                )
                tag = InputTag(MLFLOW_DATASET_CONTEXT, context)
                self._client.log_inputs(self.run_id, [MlflowDatasetInput(data, [tag])])
            case TrainedModel():
                self._models.create(event)
            case Ended():
                self._end(event, launcher_id)

    def write_batch(self, events: Sequence[Params | Metrics | Tags]) -> None:
        """Write events in one `log_batch` (MLflow splits it at its limits); the last of several equal tags wins."""
        params: dict[str, str] = {}
        metrics: list[Metric] = []
        tags: dict[str, str] = {}
        for event in events:
            match event:
                case Params(values):
                    params |= {name: text for name, text in values.items() if name not in self._logged_params}
                case Metrics(values, step, timestamp, of_model):
                    model = self._models.find() if of_model else None
                    measured_on = self._models.dataset_of if model else lambda _: {}
                    metrics += [
                        Metric(name, value, timestamp, step, model_id=model, run_id=self.run_id, **measured_on(name))
                        for name, value in values.items()
                    ]
                case Tags(values):
                    tags |= values
        self._client.log_batch(
            self.run_id,
            metrics=metrics,
            params=[Param(name, text[:PARAM_LIMIT]) for name, text in params.items()],
            tags=[RunTag(name, text[:_TAG_LIMIT]) for name, text in tags.items()],
        )
        self._logged_params |= set(params)

    def set_running(self) -> None:
        """Set the run to RUNNING and remove the reason why it had ended."""
        self._clear_reason()
        self._client.update_run(self.run_id, status="RUNNING")

    def _clear_reason(self) -> None:
        tags = self._client.get_run(self.run_id).data.tags
        if reason := tags.get(REASON):
            note = tags.get(NOTE, "")
            for status in Status:
                note = note.removeprefix(_note_head(status, reason))
            self._client.set_tag(self.run_id, NOTE, note)
            with suppress(MlflowException):  # another process deleted it
                self._client.delete_tag(self.run_id, REASON)

    def mark_as_launcher(self, launcher_id: str) -> None:
        """Mark another run as the launcher of this one; nothing if the store does not have that run."""
        try:
            self._client.set_tag(launcher_id, KIND, "launcher")
            self._client.set_tag(launcher_id, CONTINUES, self.run_id)
            self._client.set_tag(
                launcher_id, NOTE, f"Only started run {self.run_id}, which has all settings, metrics and artifacts."
            )
        except MlflowException as error:
            if not is_unknown_run(error):
                raise

    def end_launcher(self, launcher_id: str, status: str, timestamp: int) -> None:
        """Terminate the launcher with a status, at `timestamp` (ms); nothing for a run not marked as this one's."""
        launcher = find_run(self._client, launcher_id)
        if launcher is not None and launcher.data.tags.get(CONTINUES) == self.run_id:
            self._client.set_terminated(launcher_id, status, timestamp)

    def _end(self, ended: Ended, launcher_id: str | None) -> None:
        old_reason = self._client.get_run(self.run_id).data.tags.get(REASON, "")
        if old_reason != ended.reason[:_TAG_LIMIT]:
            self._clear_reason()  # the run had been closed as stale
        if ended.reason:
            self._client.set_tag(self.run_id, REASON, ended.reason[:_TAG_LIMIT])
            note = self._client.get_run(self.run_id).data.tags.get(NOTE, "")
            head = _note_head(ended.status, ended.reason)
            if not note.startswith(head):
                self._client.set_tag(self.run_id, NOTE, f"{head}{note}"[:_TAG_LIMIT])
        self._client.set_terminated(self.run_id, ended.status.value, ended.timestamp)
        with suppress(MlflowException):  # no such tag. It tells a live run from a dead one, and this one is over
            self._client.delete_tag(self.run_id, HEARTBEAT)
        if launcher_id is not None:
            self.end_launcher(launcher_id, ended.status.value, ended.timestamp)


def _note_head(status: Status, reason: str) -> str:
    """The reason for a run's end, to go above its description (note)."""
    return f"**{status.value}**: {reason[: _TAG_LIMIT // 2]}\n\n"
