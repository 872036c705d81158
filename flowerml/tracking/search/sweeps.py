"""A sweep at the tracking server: one run, whoever begins it, goes on with it, or works on it from another host."""

import os
from collections.abc import Mapping

from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

from flowerml.tracking.client.connection import connect
from flowerml.tracking.client.errors import to_user_error
from flowerml.tracking.delivery.run_lookup import HEARTBEAT, get_launcher_run, get_or_create_experiment, run_heartbeat
from flowerml.tracking.delivery.run_writer import KIND, RunWriter
from flowerml.tracking.recorder import MlflowRecorder
from flowerml.tracking.search.campaigns import CAMPAIGN, CampaignRun, runs_of_campaign


def open_sweep(sweep: str, name: str, experiment: str, tags: Mapping[str, str]) -> CampaignRun:
    """The run of a sweep: the one that it has, or the one that `mlflow run` has opened, or a new one. It is RUNNING
    then.

    Raises:
        UserError: the tracking server can't be reached or refuses.
    """
    try:
        client = connect()
        opened = get_launcher_run(client, os.environ.get("MLFLOW_RUN_ID"))
        all_tags = {KIND: "sweep", CAMPAIGN: sweep, **tags, HEARTBEAT: run_heartbeat()}
        own: Run | None = opened
        if not runs_of_campaign(sweep, ("sweep",)):
            if own is None:
                where = get_or_create_experiment(client, experiment)
                own = client.create_run(
                    where, tags={**resolve_tags(), **all_tags, MLFLOW_RUN_NAME: name}, run_name=name
                )
            _tell(client, own, all_tags)
        # Two commands that begin at once each make one: the older one is the sweep's.
        run_id = min((run.started, run.run_id) for run in runs_of_campaign(sweep, ("sweep",)))[1]
        run = client.get_run(run_id)
        launcher = None
        if own is not None and own.info.run_id != run_id:
            if opened is None:
                client.delete_run(own.info.run_id)
            else:
                launcher = str(own.info.run_id)
                RunWriter(client, run).mark_as_launcher(launcher)
        if run.info.status != "RUNNING":
            RunWriter(client, run).set_running()
        _tell(client, run, all_tags)
        return CampaignRun(MlflowRecorder(client, run_id), client.get_experiment(run.info.experiment_id).name, launcher)
    except Exception as error:  # MLflow, SQLAlchemy and requests each raise their own
        raise to_user_error(error) from error


def write_heartbeat(run_id: str) -> None:
    """Say that a sweep is being worked on; RUNNING again, where another of its commands has ended it. A server that is
    away costs nothing: the next sign may get through.
    """
    try:
        client = connect()
        client.set_tag(run_id, HEARTBEAT, run_heartbeat())
        run = client.get_run(run_id)
        if run.info.status != "RUNNING":
            RunWriter(client, run).set_running()
    except Exception:  # as above
        return


def _tell(client: MlflowClient, run: Run, tags: Mapping[str, str]) -> None:
    for name, text in tags.items():
        client.set_tag(run.info.run_id, name, text)
