"""Runs that the server takes for RUNNING and whose process has given no sign of life for long."""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from mlflow.entities import Run, ViewType
from mlflow.tracking import MlflowClient

from flowerml.events import Ended, Status, now_ms
from flowerml.human_units import duration
from flowerml.tracking.client.connection import connect, set_request_timeout
from flowerml.tracking.client.errors import to_user_error
from flowerml.tracking.delivery.run_lookup import HEARTBEAT, find_run
from flowerml.tracking.delivery.run_writer import CONTINUES, KIND, RunWriter

_PAGE = 1000
_ANSWER_S = 30.0  # a page of many runs takes some seconds


@dataclass(frozen=True)
class ClosedRun:
    """A run that was closed at the server: its id, its state now, and why."""

    run_id: str
    status: str
    reason: str


def close_stale_runs(silent_s: float, alive: Collection[str]) -> list[ClosedRun]:
    """Close, in all experiments, the RUNNING runs whose last sign of life is older than `silent_s` seconds, and the
    launchers of runs that have ended. `alive` are the ids of runs that are known to live: their signs may not have come
    through.

    Raises:
        UserError: the tracking server can't be reached or refuses.
    """
    set_request_timeout(_ANSWER_S)
    try:
        client = connect()
        experiments = [
            one.experiment_id for one in client.search_experiments(view_type=ViewType.ACTIVE_ONLY, max_results=50_000)
        ]
        dead = [
            (run, sign)
            for run, sign in _runs_with_heartbeat(client, experiments)
            if _is_stale(run, sign, silent_s, alive)
        ]
        closed = [_close(client, run, sign) for run, sign in dead if _is_unchanged(client, run)]
        return closed + _close_launchers(client, experiments)
    except Exception as error:  # MLflow, SQLAlchemy and requests each raise their own
        raise to_user_error(error) from error


@dataclass(frozen=True)
class _Sign:
    host: str
    pid: int
    time: int  # ms

    @property
    def silent_s(self) -> float:
        return (now_ms() - self.time) / 1000


def _runs_with_heartbeat(client: MlflowClient, experiments: list[str]) -> Iterator[tuple[Run, _Sign]]:
    for run in _running(client, experiments, f"tags.`{HEARTBEAT}` LIKE '_%'"):
        try:
            yield run, _Sign(**json.loads(run.data.tags[HEARTBEAT]))
        except (ValueError, TypeError):
            continue  # somebody else's words


def _is_stale(run: Run, sign: _Sign, silent_s: float, alive: Collection[str]) -> bool:
    return run.info.run_id not in alive and sign.silent_s > silent_s


def _is_unchanged(client: MlflowClient, run: Run) -> bool:
    """Whether nobody has ended it, or given a sign of life for it, since all the others were looked through."""
    now = find_run(client, run.info.run_id)
    return now is not None and now.info.status == "RUNNING" and now.data.tags.get(HEARTBEAT) == run.data.tags[HEARTBEAT]


def _close(client: MlflowClient, run: Run, sign: _Sign) -> ClosedRun:
    reason = f"its process {sign.pid} on {sign.host} is gone: last sign of life {duration(sign.silent_s)} ago"
    RunWriter(client, run).write(Ended(Status.KILLED, reason, sign.time))
    return ClosedRun(run.info.run_id, Status.KILLED.value, reason)


def _close_launchers(client: MlflowClient, experiments: list[str]) -> list[ClosedRun]:
    closed = []
    for launcher in _running(client, experiments, f"tags.`{KIND}` = 'launcher'"):
        started = find_run(client, launcher.data.tags.get(CONTINUES))
        if started is not None and started.info.status != "RUNNING":
            client.set_terminated(launcher.info.run_id, started.info.status, started.info.end_time)
            closed.append(
                ClosedRun(
                    launcher.info.run_id, started.info.status, f"it launched run {started.info.run_id}, which has ended"
                )
            )
    return closed


def _running(client: MlflowClient, experiments: list[str], condition: str) -> list[Run]:
    """All at once, before one is closed: pages would shift."""
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            experiments, f"attributes.status = 'RUNNING' AND {condition}", max_results=_PAGE, page_token=token
        )
        found += page
        token = page.token
        if not token:
            return found
