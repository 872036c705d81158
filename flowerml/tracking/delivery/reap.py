"""Close runs that are RUNNING at the server but whose heartbeat has expired."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from mlflow.entities import Run, ViewType
from mlflow.tracking import MlflowClient

from flowerml.events import Ended, Status
from flowerml.human_units import duration
from flowerml.tracking.client.connection import connect, set_request_timeout
from flowerml.tracking.client.failures import to_user_error
from flowerml.tracking.client.runs import CONTINUES, KIND, find_run
from flowerml.tracking.delivery.run_writer import RunWriter
from flowerml.tracking.heartbeat import HEARTBEAT, HeartbeatRecord, parse_heartbeat

_PAGE_SIZE = 1000
_TIMEOUT_S = 30.0  # a page of many runs takes seconds


@dataclass(frozen=True)
class ClosedRun:
    """A run that was closed at the server: its id, its terminal status and the reason."""

    run_id: str
    status: str
    reason: str


def close_stale_runs(timeout_s: float, alive: Collection[str]) -> list[ClosedRun]:
    """Close the RUNNING runs of all experiments whose heartbeat is older than `timeout_s`, and launchers of ended runs.

    `alive` are the ids of runs known to be alive, whose heartbeats may not have reached the server.

    Raises:
        UserError: the tracking server can't be reached or refuses.
    """
    set_request_timeout(_TIMEOUT_S)
    try:
        client = connect()
        experiments = [
            experiment.experiment_id
            for experiment in client.search_experiments(view_type=ViewType.ACTIVE_ONLY, max_results=50_000)
        ]
        stale = [
            (run, heartbeat)
            for run, heartbeat in _runs_with_heartbeat(client, experiments)
            if run.info.run_id not in alive and heartbeat.age_s > timeout_s
        ]
        closed = [_close_run(client, run, heartbeat) for run, heartbeat in stale if _is_unchanged(client, run)]
        return closed + _close_launchers(client, experiments)
    except Exception as error:  # MLflow, SQLAlchemy and requests each raise their own
        raise to_user_error(error) from error


def _runs_with_heartbeat(client: MlflowClient, experiments: list[str]) -> Iterator[tuple[Run, HeartbeatRecord]]:
    for run in _search_running(client, experiments, f"tags.`{HEARTBEAT}` LIKE '_%'"):
        try:
            yield run, parse_heartbeat(run.data.tags[HEARTBEAT])
        except (ValueError, TypeError):
            continue  # the tag was not written by flowerml


def _is_unchanged(client: MlflowClient, run: Run) -> bool:
    """Whether the run has neither ended nor had a heartbeat since the search, which takes a while with many runs."""
    now = find_run(client, run.info.run_id)
    return now is not None and now.info.status == "RUNNING" and now.data.tags.get(HEARTBEAT) == run.data.tags[HEARTBEAT]


def _close_run(client: MlflowClient, run: Run, heartbeat: HeartbeatRecord) -> ClosedRun:
    reason = (
        f"its process {heartbeat.pid} on {heartbeat.host} is gone: last sign of life {duration(heartbeat.age_s)} ago"
    )
    RunWriter(client, run).write(Ended(Status.KILLED, reason, heartbeat.time))
    return ClosedRun(run.info.run_id, Status.KILLED.value, reason)


def _close_launchers(client: MlflowClient, experiments: list[str]) -> list[ClosedRun]:
    closed = []
    for launcher in _search_running(client, experiments, f"tags.`{KIND}` = 'launcher'"):
        run = find_run(client, launcher.data.tags.get(CONTINUES))
        if run is not None and run.info.status != "RUNNING":
            client.set_terminated(launcher.info.run_id, run.info.status, run.info.end_time)
            reason = f"it launched run {run.info.run_id}, which has ended"
            closed.append(ClosedRun(launcher.info.run_id, run.info.status, reason))
    return closed


def _search_running(client: MlflowClient, experiments: list[str], condition: str) -> list[Run]:
    """All matching RUNNING runs, fetched before any is closed: closing would shift the pages."""
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            experiments, f"attributes.status = 'RUNNING' AND {condition}", max_results=_PAGE_SIZE, page_token=token
        )
        runs += page
        token = page.token
        if not token:
            return runs
