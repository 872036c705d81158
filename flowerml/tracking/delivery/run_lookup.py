"""Which MLflow run the records of a journal belong to: one that has it already, the one `mlflow run` has opened, or a
new one.
"""

import json
import os
import re
import socket
from collections.abc import Callable, Mapping

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient, get_tracking_uri
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME
from pydantic import ValidationError

from flowerml.errors import UserError
from flowerml.events import now_ms
from flowerml.journal import RunStarted
from flowerml.settings import Settings
from flowerml.settings.serialization import contradictions
from flowerml.tracking.client.errors import is_unknown_run, redact_secrets

JOURNAL_TAG = "flowerml.journal"
HEARTBEAT = "flowerml.heartbeat"
_MADE_UP = re.compile(r"^[a-z]+-[a-z]+-\d+$")  # the names MLflow invents: bold-crow-123


def run_heartbeat(opening: RunStarted | None = None) -> str:
    """Who lives, where and when (ms), as JSON: by its age a run of the store that died is told from one that runs.

    Of this process; or of the one that began a journal, whose number is not known any more (0).
    """
    if opening is not None:
        return json.dumps({"host": opening.host, "pid": 0, "time": opening.timestamp})
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "time": now_ms()})


def find_journal_run(client: MlflowClient, opening: RunStarted, heard: Callable[[], None]) -> Run | None:
    """The run that has this journal, or the one `mlflow run` has opened for it, which is taken for it; None where one
    has to be made.

    `heard` is called at every answer. Raises whatever MLflow raises.
    """
    launcher = find_run(client, opening.opened)
    if opening.opened:
        heard()
    if launcher is not None and not _contradicts(launcher, opening):
        return _taken(client, launcher, opening)
    experiment = journal_experiment(client, opening, launcher)
    heard()
    found = runs_of_journal(client, experiment, opening.journal)
    heard()
    return found[0] if found else None


def create_journal_run(client: MlflowClient, opening: RunStarted, tags: Mapping[str, str]) -> Run:
    """A new run for the journal, in the experiment it names; beside the run that `mlflow run` has opened, where that
    can't be used.
    """
    all_tags = {**opening.tags, **tags, JOURNAL_TAG: opening.journal, MLFLOW_RUN_NAME: opening.run_name}
    experiment = journal_experiment(client, opening, find_run(client, opening.opened))
    return client.create_run(experiment, start_time=opening.timestamp, tags=all_tags, run_name=opening.run_name)


def runs_of_journal(client: MlflowClient, experiment_id: str, journal: str) -> list[Run]:
    """The runs of an experiment that have this journal, oldest first. More than one: a request to make it was heard too
    late.
    """
    found = client.search_runs([experiment_id], f"tags.`{JOURNAL_TAG}` = '{journal}'")
    return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))


def find_run(client: MlflowClient, run_id: str | None) -> Run | None:
    """A run by its id; None where the store does not have it, or not any more."""
    if not run_id:
        return None
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if not is_unknown_run(error):
            raise
        return None
    return run if run.info.lifecycle_stage == "active" else None


def get_launcher_run(client: MlflowClient, opened: str | None) -> Run | None:
    """The run that `mlflow run` has opened for this process; None elsewhere.

    Raises:
        UserError: the store does not have it, or not any more.
    """
    if not opened:
        return None
    store = redact_secrets(get_tracking_uri())
    remedy = "unset it, or set MLFLOW_TRACKING_URI to the store that has it"
    try:
        run = client.get_run(opened)
    except MlflowException as error:
        if not is_unknown_run(error):
            raise
        raise UserError(f"MLFLOW_RUN_ID {opened} is no run of the MLflow tracking store {store}: {remedy}") from error
    if run.info.lifecycle_stage != "active":
        raise UserError(f"MLFLOW_RUN_ID {opened} was deleted in the MLflow tracking store {store}: {remedy}")
    return run


def journal_experiment(client: MlflowClient, opening: RunStarted, launcher: Run | None) -> str:
    """The experiment the run of a journal is in. Raises UserError for a deleted one."""
    if launcher is not None:
        return str(launcher.info.experiment_id)
    return get_or_create_experiment(client, opening.experiment, " or choose another --experiment")


def get_or_create_experiment(client: MlflowClient, name: str, otherwise: str = "") -> str:
    """An experiment by its name, made where there is none. Raises UserError for a deleted one."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        found = client.get_experiment_by_name(name)  # somebody else made it in this moment
    if found is None or found.lifecycle_stage != "active":
        raise UserError(
            f"the MLflow experiment {name!r} was deleted: restore it (mlflow experiments restore){otherwise}"
        )
    return str(found.experiment_id)


def _contradicts(run: Run, opening: RunStarted) -> bool:
    """Whether the run's params, which can't be changed, say something else than what runs (a `-P lr_head=auto`)."""
    try:
        return bool(contradictions(run.data.params, Settings.model_validate(opening.settings)))
    except ValidationError:  # of another version: nobody can say
        return True


def _taken(client: MlflowClient, run: Run, opening: RunStarted) -> Run:
    run_id = run.info.run_id
    # A name given with `mlflow run --run-name` stays, unless the setting was given too; settings here always have a
    # name.
    if "run_name" in run.data.params or _MADE_UP.match(run.info.run_name or ""):
        client.update_run(run_id, name=opening.run_name)
    client.set_tag(run_id, JOURNAL_TAG, opening.journal)
    return run
