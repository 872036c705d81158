"""The parent run of a sweep: one run, shared by all commands and hosts that work on the sweep."""

import os
from collections.abc import Mapping

from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

from flowerml.tracking.client.connection import connect
from flowerml.tracking.client.experiments import get_or_create_experiment
from flowerml.tracking.client.failures import to_user_error
from flowerml.tracking.client.runs import KIND
from flowerml.tracking.delivery.run_writer import RunWriter
from flowerml.tracking.environment.env_run import ENV_RUN_ID, get_env_run
from flowerml.tracking.environment.source_tags import source_tags
from flowerml.tracking.heartbeat import HEARTBEAT, heartbeat_json
from flowerml.tracking.recorder import MlflowRecorder
from flowerml.tracking.search.campaigns import CAMPAIGN, CampaignRun, first_run, runs_of_campaign


def open_sweep(sweep: str, name: str, experiment: str, tags: Mapping[str, str]) -> CampaignRun:
    """Find the sweep's run, adopt the one that `mlflow run` has opened, or create one; set it to RUNNING.

    Raises:
        UserError: the tracking server can't be reached or refuses.
    """
    try:
        client = connect()
        env_run = get_env_run(client, os.environ.get(ENV_RUN_ID))
        all_tags = {KIND: "sweep", CAMPAIGN: sweep, **tags, HEARTBEAT: heartbeat_json()}
        own: Run | None = env_run
        if not runs_of_campaign(sweep, ("sweep",)):
            if own is None:
                experiment_id = get_or_create_experiment(client, experiment)
                own = client.create_run(
                    experiment_id, tags={**source_tags(), **all_tags, MLFLOW_RUN_NAME: name}, run_name=name
                )
            _set_tags(client, own, all_tags)
        run, launcher = first_run(client, sweep, "sweep", own, env_run)
        if run.info.status != "RUNNING":
            RunWriter(client, run).set_running()
        _set_tags(client, run, all_tags)
        experiment_name = client.get_experiment(run.info.experiment_id).name
        return CampaignRun(MlflowRecorder(client, str(run.info.run_id)), experiment_name, launcher)
    except Exception as error:  # MLflow, SQLAlchemy and requests each raise their own
        raise to_user_error(error) from error


def write_heartbeat(run_id: str) -> None:
    """Update the sweep's heartbeat, and set it to RUNNING again if another of its commands has ended it.

    Errors of the server are ignored: the next heartbeat may succeed.
    """
    try:
        client = connect()
        client.set_tag(run_id, HEARTBEAT, heartbeat_json())
        run = client.get_run(run_id)
        if run.info.status != "RUNNING":
            RunWriter(client, run).set_running()
    except Exception:  # as above
        return


def _set_tags(client: MlflowClient, run: Run, tags: Mapping[str, str]) -> None:
    for name, text in tags.items():
        client.set_tag(run.info.run_id, name, text)
