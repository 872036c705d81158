"""A campaign at the tracking server: its parent run, its runs and its decisions, found again by tags."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient, get_tracking_uri
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from flowerml.tracking.client.connection import connect, database_file, is_remote, set_request_timeout
from flowerml.tracking.client.errors import is_server_response, short_reason, to_user_error
from flowerml.tracking.delivery.run_lookup import HEARTBEAT, get_launcher_run, get_or_create_experiment, run_heartbeat
from flowerml.tracking.delivery.run_writer import KIND, RunWriter
from flowerml.tracking.recorder import MlflowRecorder
from flowerml.tracking.search.filters import tag_equals

CAMPAIGN = "flowerml.campaign"
HEARTBEAT = HEARTBEAT
_MADE_UP = re.compile(r"^[a-z]+-[a-z]+-\d+$")  # the names MLflow invents: bold-crow-123
PARENT = MLFLOW_PARENT_RUN_ID


@dataclass(frozen=True)
class CampaignRun:
    """A campaign's own run: who takes its events, and the experiment that it is in by name. `launcher` is the run that
    `mlflow run` has opened for going on with it, None where there is none.
    """

    recorder: MlflowRecorder
    experiment: str
    launcher: str | None

    def end_launcher(self, status: str, timestamp: int) -> None:
        """Give the launcher the campaign's own end. Raises UserError where the server can't be asked."""
        if self.launcher is None:
            return
        try:
            client = connect()
            RunWriter(client, client.get_run(self.recorder.run_id)).end_launcher(self.launcher, status, timestamp)
        except Exception as error:  # MLflow, SQLAlchemy and requests each raise their own
            raise to_user_error(error) from error


@dataclass(frozen=True)
class ServerRun:
    """A run of a campaign as the server knows it; `tags` without `flowerml.`, metrics are the last values."""

    run_id: str
    status: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    started: int
    seconds: float | None


def heartbeat_json() -> str:
    """The value of the tag HEARTBEAT for this process, now."""
    return run_heartbeat()


def store_address() -> str:
    """The address of the tracking store that is set, as another process on this machine would have to be told it."""
    address = str(get_tracking_uri())
    file = database_file(address)
    return f"sqlite:///{file}" if file is not None else address


def unreachable_reason() -> str | None:
    """Why the tracking server does not answer, in words; None where it does.

    Raises:
        UserError: it answers, and refuses; or its address can't be one.
    """
    set_request_timeout(5)
    try:
        connect().search_experiments(max_results=1)
    except Exception as error:  # MLflow, SQLAlchemy and requests each raise their own
        # No time mends a file; but another process may hold it for longer than SQLite waits.
        if is_server_response(error) or not (is_remote(get_tracking_uri()) or "locked" in str(error)):
            raise to_user_error(error) from error
        return short_reason(error)
    return None


def open_campaign(campaign: str, name: str, experiment: str, tags: Mapping[str, str]) -> CampaignRun:
    """The campaign's run: the one that it has, or the one `mlflow run` has opened, or a new one. It is RUNNING then.

    Raises:
        UserError: the tracking server can't be reached or refuses.
    """
    try:
        client = connect()
        opened = get_launcher_run(client, os.environ.get("MLFLOW_RUN_ID"))
        standing = _of_campaign(client, campaign, "campaign")
        run, launcher = (standing[0] if standing else opened), None
        if run is None:
            all_tags = {
                **resolve_tags(),
                KIND: "campaign",
                CAMPAIGN: campaign,
                **tags,
                HEARTBEAT: run_heartbeat(),
                MLFLOW_RUN_NAME: name,
            }
            run = client.create_run(get_or_create_experiment(client, experiment), tags=all_tags, run_name=name)
        elif not standing and _MADE_UP.match(run.info.run_name or ""):
            client.update_run(run.info.run_id, name=name)
        writer = RunWriter(client, run)
        if standing:
            writer.set_running()
            if opened is not None and opened.info.run_id != run.info.run_id:
                launcher = str(opened.info.run_id)
                writer.mark_as_launcher(launcher)
        for tag, text in {KIND: "campaign", CAMPAIGN: campaign, **tags, HEARTBEAT: run_heartbeat()}.items():
            client.set_tag(run.info.run_id, tag, text)
        where = client.get_experiment(run.info.experiment_id).name
        return CampaignRun(MlflowRecorder(client, str(run.info.run_id)), where, launcher)
    except Exception as error:  # as above
        raise to_user_error(error) from error


def runs_of_campaign(campaign: str, kinds: Sequence[str]) -> list[ServerRun]:
    """A campaign's runs of these kinds, oldest first. Raises UserError as `open_campaign`."""
    try:
        client = connect()
        return [_known(run) for kind in kinds for run in _of_campaign(client, campaign, kind)]
    except Exception as error:  # as above
        raise to_user_error(error) from error


def campaigns_of_plan(plan: str, data_digest: str | None = None) -> list[ServerRun]:
    """The campaigns of a plan, oldest first; on some data, where it is named. Raises UserError as `open_campaign`."""
    try:
        of_data = [tag_equals("data_digest", data_digest)] if data_digest is not None else []
        found = _search(connect(), " AND ".join([tag_equals("kind", "campaign"), tag_equals("plan", plan), *of_data]))
        return [_known(run) for run in found]
    except Exception as error:  # as above
        raise to_user_error(error) from error


def fetch_artifact(run_id: str, name: str, into: Path) -> Path:
    """Download a run's artifact into the folder `into`. Raises UserError where there is none."""
    try:
        into.mkdir(parents=True, exist_ok=True)
        return Path(connect().download_artifacts(run_id, name, str(into)))
    except (MlflowException, OSError) as error:
        raise to_user_error(error) from error


def _of_campaign(client: MlflowClient, campaign: str, kind: str) -> list[Run]:
    return _search(client, f"{tag_equals('kind', kind)} AND {tag_equals('campaign', campaign)}")


def _search(client: MlflowClient, condition: str) -> list[Run]:
    """Active runs of all experiments, oldest first."""
    experiments = [one.experiment_id for one in client.search_experiments(max_results=1000)]
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            experiments, condition, max_results=1000, order_by=["attributes.start_time ASC"], page_token=token
        )
        found += page
        token = page.token
        if not token:
            return found


def _known(run: Run) -> ServerRun:
    tags = {
        name.removeprefix("flowerml."): text for name, text in run.data.tags.items() if name.startswith("flowerml.")
    }
    ended = run.info.end_time
    seconds = None if ended is None else (ended - run.info.start_time) / 1000
    return ServerRun(str(run.info.run_id), run.info.status, tags, run.data.metrics, run.info.start_time or 0, seconds)
