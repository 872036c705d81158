"""Find or create the MLflow run of a journal: its own, the one `mlflow run` created (MLFLOW_RUN_ID), or a new one."""

import re
from collections.abc import Callable, Mapping

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient, get_tracking_uri
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME
from pydantic import ValidationError

from flowerml.errors import UserError
from flowerml.journal import RunStarted
from flowerml.redaction import redact_secrets
from flowerml.settings import Settings
from flowerml.settings.serialization import conflicting_params
from flowerml.tracking.client.errors import is_unknown_run

JOURNAL_TAG = "flowerml.journal"
_GENERATED_NAME = re.compile(r"^[a-z]+-[a-z]+-\d+$")  # by MLflow: bold-crow-123


def find_journal_run(client: MlflowClient, started: RunStarted, on_response: Callable[[], None]) -> Run | None:
    """The run of this journal, or the one of MLFLOW_RUN_ID, which is adopted; None if one must be created.

    `on_response` is called at every response. Raises what MLflow raises.
    """
    env_run = find_run(client, started.opened)
    if started.opened:
        on_response()
    if env_run is not None and not _has_other_params(env_run, started):
        return _adopt_run(client, env_run, started)
    experiment = journal_experiment(client, started, env_run)
    on_response()
    runs = runs_of_journal(client, experiment, started.journal)
    on_response()
    return runs[0] if runs else None


def create_journal_run(client: MlflowClient, started: RunStarted, tags: Mapping[str, str]) -> Run:
    """Create the run of a journal, in its experiment or, if MLFLOW_RUN_ID can't be adopted, in that run's."""
    all_tags = {**started.tags, **tags, JOURNAL_TAG: started.journal, MLFLOW_RUN_NAME: started.run_name}
    experiment = journal_experiment(client, started, find_run(client, started.opened))
    return client.create_run(experiment, start_time=started.timestamp, tags=all_tags, run_name=started.run_name)


def runs_of_journal(client: MlflowClient, experiment_id: str, journal: str) -> list[Run]:
    """The runs of a journal in an experiment, oldest first; several if a request that timed out was executed later."""
    runs = client.search_runs([experiment_id], f"tags.`{JOURNAL_TAG}` = '{journal}'")
    return sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))


def find_run(client: MlflowClient, run_id: str | None) -> Run | None:
    """A run by its id; None if the store does not have it or it was deleted."""
    if not run_id:
        return None
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if not is_unknown_run(error):
            raise
        return None
    return run if run.info.lifecycle_stage == "active" else None


def get_env_run(client: MlflowClient, env_run_id: str | None) -> Run | None:
    """The run that `mlflow run` created for this process (MLFLOW_RUN_ID); None if the variable is not set.

    Raises:
        UserError: the store does not have it, or it was deleted.
    """
    if not env_run_id:
        return None
    store = redact_secrets(get_tracking_uri())
    remedy = "unset it, or set MLFLOW_TRACKING_URI to the store that has it"
    try:
        run = client.get_run(env_run_id)
    except MlflowException as error:
        if not is_unknown_run(error):
            raise
        raise UserError(
            f"MLFLOW_RUN_ID {env_run_id} is no run of the MLflow tracking store {store}: {remedy}"
        ) from error
    if run.info.lifecycle_stage != "active":
        raise UserError(f"MLFLOW_RUN_ID {env_run_id} was deleted in the MLflow tracking store {store}: {remedy}")
    return run


def journal_experiment(client: MlflowClient, started: RunStarted, env_run: Run | None) -> str:
    """The id of the experiment of a journal's run. Raises UserError for a deleted one."""
    if env_run is not None:
        return str(env_run.info.experiment_id)
    return get_or_create_experiment(client, started.experiment, " or choose another --experiment")


def get_or_create_experiment(client: MlflowClient, name: str, hint: str = "") -> str:
    """The id of an experiment by name, created if there is none. Raises UserError for a deleted one."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        experiment = client.get_experiment_by_name(name)  # another process created it meanwhile
    if experiment is None or experiment.lifecycle_stage != "active":
        raise UserError(f"the MLflow experiment {name!r} was deleted: restore it (mlflow experiments restore){hint}")
    return str(experiment.experiment_id)


def has_generated_name(run: Run) -> bool:
    """Whether MLflow made up the run's name, so that it may be replaced."""
    return bool(_GENERATED_NAME.match(run.info.run_name or ""))


def _has_other_params(run: Run, started: RunStarted) -> bool:
    """Whether the run's params, which are immutable, differ from the settings of this run (a `-P lr_head=auto`)."""
    try:
        return bool(conflicting_params(run.data.params, Settings.model_validate(started.settings)))
    except ValidationError:  # settings of another version can't be compared
        return True


def _adopt_run(client: MlflowClient, run: Run, started: RunStarted) -> Run:
    run_id = run.info.run_id
    # A name given with `mlflow run --run-name` is kept, unless the setting run_name was given too: resolved settings
    # always have a run name.
    if "run_name" in run.data.params or has_generated_name(run):
        client.update_run(run_id, name=started.run_name)
    client.set_tag(run_id, JOURNAL_TAG, started.journal)
    return run
