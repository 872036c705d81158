"""Find or create the MLflow run of a journal: its own, the one that `mlflow run` has opened, or a new one."""

import re
from collections.abc import Callable, Mapping

from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME
from pydantic import ValidationError

from flowerml.journal import RunStarted
from flowerml.settings import Settings
from flowerml.settings.serialization import conflicting_params
from flowerml.tracking.client.experiments import describe_experiment, get_or_create_experiment
from flowerml.tracking.client.runs import JOURNAL_TAG
from flowerml.tracking.environment.env_run import find_opened_run

_GENERATED_NAME = re.compile(r"^[a-z]+-[a-z]+-\d+$")  # by MLflow: bold-crow-123


def find_journal_run(client: MlflowClient, started: RunStarted, on_response: Callable[[], None]) -> Run | None:
    """The run of this journal, or the one that `mlflow run` opened for it, which is adopted; None without either.

    `on_response` is called at every response. Raises what MLflow raises.
    """
    env_run = _opened_run(client, started)
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
    """Create the run of a journal, in its experiment or, if `mlflow run` opened one for it, in that run's."""
    all_tags = {**started.tags, **tags, JOURNAL_TAG: started.journal, MLFLOW_RUN_NAME: started.run_name}
    experiment = journal_experiment(client, started, _opened_run(client, started))
    return client.create_run(experiment, start_time=started.timestamp, tags=all_tags, run_name=started.run_name)


def runs_of_journal(client: MlflowClient, experiment_id: str, journal: str) -> list[Run]:
    """The runs of a journal in an experiment, oldest first; several if a request that timed out was executed later."""
    runs = client.search_runs([experiment_id], f"tags.`{JOURNAL_TAG}` = '{journal}'")
    return sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))


def journal_experiment(client: MlflowClient, started: RunStarted, env_run: Run | None) -> str:
    """The id of the experiment of a journal's run. Raises UserError for a deleted one."""
    if env_run is not None:
        describe_experiment(client, str(env_run.info.experiment_id))
        return str(env_run.info.experiment_id)
    return get_or_create_experiment(client, started.experiment, " or choose another --experiment")


def has_generated_name(run: Run) -> bool:
    """Whether MLflow made up the run's name, so that it may be replaced."""
    return bool(_GENERATED_NAME.match(run.info.run_name or ""))


def _opened_run(client: MlflowClient, started: RunStarted) -> Run | None:
    return find_opened_run(client, started.opened, started.timestamp, started.journal)


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
