"""Events to MLflow: how each is written into one run."""

import json
from collections import deque

from mlflow.entities import Dataset, InputTag, Metric, Param, RunTag
from mlflow.entities import DatasetInput as MlflowDatasetInput
from mlflow.tracking import MlflowClient

from flowerml.console import warn
from flowerml.events import Artifact, DatasetInput, Ended, Event, Metrics, Params, Tags, now_ms
from flowerml.tracking.refusals import reason_of

REASON = "flowerml.reason"
_PARAM_LIMIT = 6000  # characters MLflow keeps of a param
_TAG_LIMIT = 8000
_DIGEST_LIMIT = 36


class MlflowRecorder:
    """Writes events to one MLflow run.

    `launcher_id` is the run that `mlflow run` opened, where that one could not be used: it ends as this one does. A server that fails in
    mid-run costs no training: events wait, in order, for the next one to get through.
    """

    def __init__(self, client: MlflowClient, run_id: str, launcher_id: str | None = None) -> None:
        self._client = client
        self._run_id = run_id
        self._launcher_id = launcher_id
        self._waiting: deque[Event] = deque()
        self._warned = False
        # Params can't be changed: what `mlflow run` logged before us says the same already (see `start`), so it stays.
        self._standing = set(client.get_run(run_id).data.params)

    @property
    def run_id(self) -> str:
        """MLflow's id of the run."""
        return self._run_id

    def record(self, event: Event) -> None:
        """Write one event, after those still waiting."""
        self._waiting.append(event)
        try:
            while self._waiting:
                self._write(self._waiting[0])
                self._waiting.popleft()
        except Exception as error:  # whatever a server, a disk or a network in between may raise: the training goes on
            if not self._warned:
                warn(f"MLflow does not take events at the moment ({reason_of(error)}); they are kept and sent with the next one")
            self._warned = True
            if isinstance(event, Ended):
                warn(f"{len(self._waiting)} events did not reach MLflow; the run's folder has everything")

    def _write(self, event: Event) -> None:
        match event:
            case Params(values):
                fresh = [Param(name, text[:_PARAM_LIMIT]) for name, text in values.items() if name not in self._standing]
                self._client.log_batch(self._run_id, params=fresh)
                self._standing |= set(values)
            case Metrics(values, step, timestamp):
                self._client.log_batch(self._run_id, metrics=[Metric(name, value, timestamp, step) for name, value in values.items()])
            case Tags(values):
                self._client.log_batch(self._run_id, tags=[RunTag(name, text[:_TAG_LIMIT]) for name, text in values.items()])
            case Artifact(path, folder):
                self._client.log_artifact(self._run_id, str(path), folder or None)
            case DatasetInput(name, digest, source, context):
                data = Dataset(name, digest[:_DIGEST_LIMIT], "local", json.dumps({"uri": source}))
                self._client.log_inputs(self._run_id, [MlflowDatasetInput(data, [InputTag("mlflow.data.context", context)])])
            case Ended(status, reason):
                if reason:
                    self._client.set_tag(self._run_id, REASON, reason[:_TAG_LIMIT])
                for run_id in (self._run_id, self._launcher_id):
                    if run_id is not None:
                        self._client.set_terminated(run_id, status.value, now_ms())
