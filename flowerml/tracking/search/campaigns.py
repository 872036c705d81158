"""A campaign's runs at the tracking server: its parent run, training runs and decisions, searched by tags."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient, get_tracking_uri
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from flowerml.tracking.client.connection import connect, database_file, set_request_timeout
from flowerml.tracking.client.experiments import get_or_create_experiment
from flowerml.tracking.client.failures import Failure, find_failure, is_permanent, to_user_error
from flowerml.tracking.client.runs import KIND
from flowerml.tracking.delivery.run_lookup import has_generated_name
from flowerml.tracking.delivery.run_writer import RunWriter
from flowerml.tracking.environment.env_run import ENV_RUN_ID, get_env_run
from flowerml.tracking.environment.source_tags import source_tags
from flowerml.tracking.heartbeat import HEARTBEAT, heartbeat_json
from flowerml.tracking.recorder import MlflowRecorder
from flowerml.tracking.search.filters import tag_equals
from flowerml.tracking.search.runs import search_all_experiments

CAMPAIGN = "flowerml.campaign"
PARENT = MLFLOW_PARENT_RUN_ID
_RACE_S = 5.0  # in which a command that has found an older run deletes its own


@dataclass(frozen=True)
class CampaignRun:
    """A campaign's parent run: the recorder for its events, and its experiment's name.

    `launcher` is the id of the run that `mlflow run` created to resume the campaign, if any.
    """

    recorder: MlflowRecorder
    experiment: str
    launcher: str | None

    def end_launcher(self, status: str, timestamp: int) -> None:
        """Terminate the launcher like the campaign. Raises UserError if the server can't be reached."""
        if self.launcher is None:
            return
        try:
            client = connect()
            RunWriter(client, client.get_run(self.recorder.run_id)).end_launcher(self.launcher, status, timestamp)
        except Exception as error:  # MLflow, SQLAlchemy and requests each raise their own
            raise to_user_error(error) from error


@dataclass(frozen=True)
class ServerRun:
    """A campaign's run at the server: `tags` without the prefix `flowerml.`, last metric values, `started` in ms, and
    the params (text).
    """

    run_id: str
    status: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    started: int
    seconds: float | None
    params: Mapping[str, str] = field(default_factory=dict)


def first_run(
    client: MlflowClient, campaign: str, kind: str, own: Run | None, env_run: Run | None
) -> tuple[Run, str | None]:
    """The campaign's or sweep's run, after `own` was made because there was none (or None), and its launcher's id.

    Two commands that start at once each make one: the older one is it, or the one that was there alone. The other is
    deleted, or, if `mlflow run` has opened it (`env_run`), becomes a launcher. Raises what MLflow raises.
    """
    found = _runs_by_start(client, campaign, kind)
    if own is None:
        return found[0], None
    # A run's start is set before the server has it: a command that looked in between keeps its own run, which began
    # later. One that looked afterwards deletes its own at once.
    end = time.monotonic() + _RACE_S
    while len(found) > 1 and found[0].info.run_id == own.info.run_id and time.monotonic() < end:
        time.sleep(0.1)
        found = _runs_by_start(client, campaign, kind)
    first = next((run for run in found if run.info.run_id != own.info.run_id), own)
    if first is own:
        return own, None
    if env_run is None or env_run.info.run_id != own.info.run_id:
        client.delete_run(own.info.run_id)
        return first, None
    RunWriter(client, first).mark_as_launcher(str(own.info.run_id))
    return first, str(own.info.run_id)


def _runs_by_start(client: MlflowClient, campaign: str, kind: str) -> list[Run]:
    return sorted(_search_campaign(client, campaign, kind), key=lambda run: (run.info.start_time, run.info.run_id))


def store_address() -> str:
    """The address of the current tracking store, absolute, for another process on this machine."""
    address = str(get_tracking_uri())
    file = database_file(address)
    return f"sqlite:///{file}" if file is not None else address


def unreachable_reason() -> Failure | None:
    """Why the tracking server can't be used at the moment; None if it can.

    Raises:
        UserError: it refuses, or its address is invalid.
    """
    set_request_timeout(5)
    try:
        connect().search_experiments(max_results=1)
    except Exception as error:  # MLflow, SQLAlchemy and requests each raise their own
        if is_permanent(error):  # waiting does not help
            raise to_user_error(error) from error
        return find_failure(error)
    return None


def open_campaign(campaign: str, name: str, experiment: str, tags: Mapping[str, str]) -> CampaignRun:
    """Find the campaign's run, adopt the one that `mlflow run` has opened, or create one; set it to RUNNING.

    Raises:
        UserError: the tracking server can't be reached or refuses.
    """
    try:
        client = connect()
        env_run = get_env_run(client, os.environ.get(ENV_RUN_ID))
        existing = _search_campaign(client, campaign, "campaign")
        run, launcher = (existing[0] if existing else env_run), None
        if run is None:
            all_tags = {
                **source_tags(),
                KIND: "campaign",
                CAMPAIGN: campaign,
                **tags,
                HEARTBEAT: heartbeat_json(),
                MLFLOW_RUN_NAME: name,
            }
            run = client.create_run(get_or_create_experiment(client, experiment), tags=all_tags, run_name=name)
        elif not existing and has_generated_name(run):
            client.update_run(run.info.run_id, name=name)
        writer = RunWriter(client, run)
        if existing:
            writer.set_running()
            if env_run is not None and env_run.info.run_id != run.info.run_id:
                launcher = str(env_run.info.run_id)
                writer.mark_as_launcher(launcher)
        for tag, text in {KIND: "campaign", CAMPAIGN: campaign, **tags, HEARTBEAT: heartbeat_json()}.items():
            client.set_tag(run.info.run_id, tag, text)
        if not existing:
            run, launcher = first_run(client, campaign, "campaign", run, env_run)
        experiment_name = client.get_experiment(run.info.experiment_id).name
        return CampaignRun(MlflowRecorder(client, str(run.info.run_id)), experiment_name, launcher)
    except Exception as error:  # as above
        raise to_user_error(error) from error


def runs_of_campaign(campaign: str, kinds: Sequence[str]) -> list[ServerRun]:
    """A campaign's runs of these kinds, oldest first. Raises UserError as `open_campaign`."""
    try:
        client = connect()
        return [_to_server_run(run) for kind in kinds for run in _search_campaign(client, campaign, kind)]
    except Exception as error:  # as above
        raise to_user_error(error) from error


def campaigns_of_plan(plan: str, data_digest: str | None = None) -> list[ServerRun]:
    """The campaigns of a plan, oldest first, optionally of one data digest. Raises UserError as `open_campaign`."""
    try:
        of_data = [tag_equals("data_digest", data_digest)] if data_digest is not None else []
        runs = search_all_experiments(
            connect(), " AND ".join([tag_equals("kind", "campaign"), tag_equals("plan", plan), *of_data])
        )
        return [_to_server_run(run) for run in runs]
    except Exception as error:  # as above
        raise to_user_error(error) from error


def fetch_artifact(run_id: str, name: str, into: Path) -> Path:
    """Download a run's artifact into the folder `into`. Raises UserError if there is none."""
    try:
        into.mkdir(parents=True, exist_ok=True)
        return Path(connect().download_artifacts(run_id, name, str(into)))
    except (MlflowException, OSError) as error:
        raise to_user_error(error) from error


def _search_campaign(client: MlflowClient, campaign: str, kind: str) -> list[Run]:
    return search_all_experiments(client, f"{tag_equals('kind', kind)} AND {tag_equals('campaign', campaign)}")


def _to_server_run(run: Run) -> ServerRun:
    tags = {
        name.removeprefix("flowerml."): text for name, text in run.data.tags.items() if name.startswith("flowerml.")
    }
    ended = run.info.end_time
    seconds = None if ended is None else (ended - run.info.start_time) / 1000
    return ServerRun(
        run_id=str(run.info.run_id),
        status=run.info.status,
        tags=tags,
        metrics=run.data.metrics,
        started=run.info.start_time or 0,
        seconds=seconds,
        params=run.data.params,
    )
