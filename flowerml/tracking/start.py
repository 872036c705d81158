"""Which MLflow run a command writes to: its own, or the one `mlflow run` has opened for it."""

import os
import re
from collections.abc import Mapping

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient, get_tracking_uri
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from flowerml.console import warn
from flowerml.errors import UserError
from flowerml.settings import Settings
from flowerml.settings.text import contradictions
from flowerml.tracking.recorder import REASON, MlflowRecorder
from flowerml.tracking.refusals import reason_of, refusal, without_secrets
from flowerml.tracking.store import connected

KIND = "flowerml.kind"
CONTINUES = "flowerml.continues"
NOTE = "mlflow.note.content"
_MADE_UP = re.compile(r"^[a-z]+-[a-z]+-\d+$")  # the names MLflow invents: bold-crow-123


def start_run(settings: Settings, experiment: str, run_name: str) -> MlflowRecorder:
    """The MLflow run for a training with these complete settings.

    Under `mlflow run` it is the run opened there, unless its params, which can't be changed, say something else than what runs (a
    `-P lr_head=auto`): then a run of its own, and the opened one becomes its launcher.

    Raises:
        UserError: the tracking server can't be reached or refuses.
    """
    try:
        client = connected()
        run = _opened(client)
        if run is None:
            experiment_id = _experiment_id(client, experiment, " or choose another --experiment")
            return MlflowRecorder(client, _create(client, experiment_id, run_name, {}))
        opened = str(run.info.run_id)
        if not contradictions(run.data.params, settings):
            # A name given with `mlflow run --run-name` stays, unless the setting was given too; settings here always have a name.
            if "run_name" in run.data.params or _MADE_UP.match(run.info.run_name or ""):
                client.update_run(opened, name=run_name)
            return MlflowRecorder(client, opened)
        own = _create(client, run.info.experiment_id, run_name, {})
        _make_launcher(client, opened, own)
        return MlflowRecorder(client, own, launcher_id=opened)
    except Exception as error:  # MLflow, SQLAlchemy and requests each raise their own
        raise refusal(error) from error


def start_child(parent_id: str | None, experiment: str, run_name: str, kind: str) -> MlflowRecorder:
    """A run of another kind (an evaluation) under the training run `parent_id`, if the server knows that one.

    Under `mlflow run` it is the run opened there.

    Raises:
        UserError: the tracking server can't be reached or refuses.
    """
    try:
        client = connected()
        parent = _find(client, parent_id)
        tags = {KIND: kind} | ({MLFLOW_PARENT_RUN_ID: parent_id} if parent and parent_id else {})
        run = _opened(client)
        if run is not None:
            for name, text in tags.items():
                client.set_tag(run.info.run_id, name, text)
            return MlflowRecorder(client, str(run.info.run_id))
        experiment_id = parent or _experiment_id(client, experiment)
        return MlflowRecorder(client, _create(client, experiment_id, run_name, tags))
    except Exception as error:  # as above
        raise refusal(error) from error


def note_failure(reason: str) -> None:
    """Under `mlflow run`, write on the run it opened why nothing was begun; it will show as FAILED. Elsewhere nothing to do."""
    opened = os.environ.get("MLFLOW_RUN_ID")
    if not opened:
        return
    try:
        MlflowClient().set_tag(opened, REASON, reason[:5000])
    except Exception as error:  # the reason stands on the console already: it must not be buried under another one
        if not _is_unknown(error):
            warn(f"MLflow could not be told ({reason_of(error)})")


def _opened(client: MlflowClient) -> Run | None:
    """The run that `mlflow run` has opened; None elsewhere. Raises UserError where the store does not have it, or not any more."""
    opened = os.environ.get("MLFLOW_RUN_ID")
    if not opened:
        return None
    store = without_secrets(get_tracking_uri())
    remedy = "unset it, or set MLFLOW_TRACKING_URI to the store that has it"
    try:
        run = client.get_run(opened)
    except MlflowException as error:
        if not _is_unknown(error):
            raise
        raise UserError(f"MLFLOW_RUN_ID {opened} is no run of the MLflow tracking store {store}: {remedy}") from error
    if run.info.lifecycle_stage != "active":
        raise UserError(f"MLFLOW_RUN_ID {opened} was deleted in the MLflow tracking store {store}: {remedy}")
    return run


def _is_unknown(error: Exception) -> bool:
    """Whether the store says that there is no such run."""
    return isinstance(error, MlflowException) and error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


def _find(client: MlflowClient, run_id: str | None) -> str | None:
    """The experiment of a run, None where the server does not know it."""
    if run_id is None:
        return None
    try:
        return str(client.get_run(run_id).info.experiment_id)
    except MlflowException as error:
        if not _is_unknown(error):
            raise
        return None


def _experiment_id(client: MlflowClient, name: str, otherwise: str = "") -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name))
    if found.lifecycle_stage != "active":
        raise UserError(f"the MLflow experiment {name!r} was deleted: restore it (mlflow experiments restore){otherwise}")
    return str(found.experiment_id)


def _create(client: MlflowClient, experiment_id: str, run_name: str, tags: Mapping[str, str]) -> str:
    all_tags = {**resolve_tags(), **tags, MLFLOW_RUN_NAME: run_name}
    return str(client.create_run(experiment_id, tags=all_tags, run_name=run_name).info.run_id)


def _make_launcher(client: MlflowClient, launcher: str, started: str) -> None:
    client.set_tag(launcher, KIND, "launcher")
    client.set_tag(launcher, CONTINUES, started)
    client.set_tag(launcher, NOTE, f"Only started run {started}, which has all settings, metrics and artifacts.")
