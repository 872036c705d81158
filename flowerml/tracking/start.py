"""Which MLflow run a command writes to: its own, or the one `mlflow run` has opened for it."""

import os
import re
from collections.abc import Mapping

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient, get_tracking_uri
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from flowerml.console import warn
from flowerml.errors import UserError
from flowerml.settings import Settings
from flowerml.settings.text import contradictions
from flowerml.tracking.recorder import REASON, MlflowRecorder

KIND = "flowerml.kind"
CONTINUES = "flowerml.continues"
NOTE = "mlflow.note.content"
_MADE_UP = re.compile(r"^[a-z]+-[a-z]+-\d+$")  # the names MLflow invents: bold-crow-123

# MLflow's own patience with a dead server is minutes (7 retries, 120 s each).
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")


def start_run(settings: Settings, experiment: str, run_name: str) -> MlflowRecorder:
    """The MLflow run for a training with these complete settings.

    Under `mlflow run` it is the run opened there, unless its params, which can't be changed, say something else than what runs (a
    `-P lr_head=auto`): then a run of its own, and the opened one becomes its launcher.

    Raises:
        UserError: the tracking server can't be reached or refuses.
    """
    try:
        client = MlflowClient()
        opened = os.environ.get("MLFLOW_RUN_ID")
        if not opened:
            return MlflowRecorder(client, _create(client, _experiment_id(client, experiment), run_name, {}))
        run = client.get_run(opened)
        if not contradictions(run.data.params, settings):
            # A name given with `mlflow run --run-name` stays, unless the setting was given too; settings here always have a name.
            if "run_name" in run.data.params or _MADE_UP.match(run.info.run_name or ""):
                client.update_run(opened, name=run_name)
            return MlflowRecorder(client, opened)
        own = _create(client, run.info.experiment_id, run_name, {})
        _make_launcher(client, opened, own)
        return MlflowRecorder(client, own, launcher_id=opened)
    except UserError:
        raise
    except Exception as error:  # MLflow, SQLAlchemy and requests each raise their own
        raise _unreachable(error) from error


def start_child(parent_id: str | None, experiment: str, run_name: str, kind: str) -> MlflowRecorder:
    """A run of another kind (an evaluation) under the training run `parent_id`, if the server knows that one.

    Under `mlflow run` it is the run opened there.

    Raises:
        UserError: the tracking server can't be reached or refuses.
    """
    try:
        client = MlflowClient()
        parent = _find(client, parent_id)
        tags = {KIND: kind} | ({MLFLOW_PARENT_RUN_ID: parent_id} if parent and parent_id else {})
        opened = os.environ.get("MLFLOW_RUN_ID")
        if opened:
            for name, text in tags.items():
                client.set_tag(opened, name, text)
            return MlflowRecorder(client, opened)
        experiment_id = parent or _experiment_id(client, experiment)
        return MlflowRecorder(client, _create(client, experiment_id, run_name, tags))
    except Exception as error:  # as above
        raise _unreachable(error) from error


def note_failure(reason: str) -> None:
    """Under `mlflow run`, write on the run it opened why nothing was begun; it will show as FAILED. Elsewhere nothing to do."""
    opened = os.environ.get("MLFLOW_RUN_ID")
    if not opened:
        return
    try:
        MlflowClient().set_tag(opened, REASON, reason[:5000])
    except Exception as error:  # the reason stands on the console already: it must not be buried under another one
        warn(f"MLflow could not be told ({error})")


def _find(client: MlflowClient, run_id: str | None) -> str | None:
    """The experiment of a run, None where the server does not know it."""
    if run_id is None:
        return None
    try:
        return str(client.get_run(run_id).info.experiment_id)
    except MlflowException:
        return None


def _experiment_id(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name))
    if found.lifecycle_stage != "active":
        raise UserError(
            f"the MLflow experiment {name!r} was deleted: restore it (mlflow experiments restore) or choose another --experiment"
        )
    return str(found.experiment_id)


def _create(client: MlflowClient, experiment_id: str, run_name: str, tags: Mapping[str, str]) -> str:
    all_tags = {**resolve_tags(), **tags, MLFLOW_RUN_NAME: run_name}
    return str(client.create_run(experiment_id, tags=all_tags, run_name=run_name).info.run_id)


def _make_launcher(client: MlflowClient, launcher: str, started: str) -> None:
    client.set_tag(launcher, KIND, "launcher")
    client.set_tag(launcher, CONTINUES, started)
    client.set_tag(launcher, NOTE, f"Only started run {started}, which has all settings, metrics and artifacts.")


def _unreachable(error: Exception) -> UserError:
    reason = (str(error) or type(error).__name__).splitlines()[0][:160]
    return UserError(f"the MLflow tracking store {get_tracking_uri()} does not answer ({reason}): start it, or set MLFLOW_TRACKING_URI")
