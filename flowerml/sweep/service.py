"""Run a sweep: open its MLflow run, run the trials, record the outputs, confirm the best, record the final status."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flowerml.errors import Stopped, UserError
from flowerml.events import Status, now_ms
from flowerml.forkserver.client import ForkClient
from flowerml.runs.lifecycle.stop_request import StopRequest, find_launcher, graceful, watch_run
from flowerml.runs.lifecycle.termination import finalize_status
from flowerml.runs.select import record_decision, select_configuration
from flowerml.selection.decision import Decision
from flowerml.selection.records import Scope
from flowerml.settings import Family
from flowerml.sweep.config import SweepConfig
from flowerml.sweep.folders import check_own_folder, check_run_owners, deliver_journals
from flowerml.sweep.loop import SweepTrials, optimize, train_confirmations
from flowerml.sweep.report.outputs import record_outputs, record_start
from flowerml.sweep.storage import call_with_retries
from flowerml.sweep.trials import FINISHED_STATES, enqueue_missing, requested_trials, sweep_id
from flowerml.tracking import TrackedRuns, start_child_run
from flowerml.tracking.search.campaigns import PARENT, CampaignRun
from flowerml.tracking.search.sweeps import open_sweep, write_heartbeat

logger = logging.getLogger(__name__)

SEEDS = (11, 23, 47)
_HEARTBEAT_S = 30.0
_DELIVERY_S = 600.0


@dataclass(frozen=True)
class SweepResult:
    """A finished sweep: its MLflow run, its trials, and the decision on further seeds (None without confirmation)."""

    run_id: str
    swept: SweepTrials
    decision: Decision | None


@dataclass(frozen=True)
class SearchOptions:
    """What the command asks for.

    `trials` in all, from a grid's `points` (None: the sampler chooses), by so many `workers`; the best `confirmed`
    are trained on further seeds.
    """

    trials: int
    family: Family
    points: list[dict[str, Any]] | None
    workers: int
    confirmed: int
    experiment: str


def run_sweep(config: SweepConfig, search: SearchOptions, fork_client: ForkClient) -> SweepResult:
    """Run or resume a sweep with workers from `fork_client`, and record its outputs.

    Raises:
        UserError: the study or the tracking server is unreachable, or the folder is not writable: nothing was begun.
        RunFailed: it can't go on; its run is FAILED, with the reason.
        KeyboardInterrupt: a stop was requested; its run is KILLED, and the same command resumes it.
    """
    check_own_folder(config.folder)
    _create_folder(config.folder.parent)
    study = call_with_retries(config.storage, config.open, 0.0)
    _create_folder(config.folder)

    def refill() -> int:
        return enqueue_missing(study, search.trials, search.points)

    fresh = call_with_retries(config.storage, refill)
    trials = call_with_retries(config.storage, lambda: requested_trials(study.get_trials(deepcopy=False)))
    ended = sum(trial.state in FINISHED_STATES for trial in trials.values())
    workers = f"{search.workers} worker{'s' * (search.workers > 1)}"
    logger.info(
        f"study {config.study}: {ended} of {len(trials)} trials are done, {fresh} newly queued; {workers}, logs in"
        f" {config.folder / 'logs'}"
    )
    campaign = sweep_id(study)
    check_run_owners(config.folders, campaign)
    tags = {"flowerml.family": search.family.value, "flowerml.model": str(config.identity["model"])}
    parent = open_sweep(campaign, f"sweep {config.study}", search.experiment, tags)
    run_id = parent.recorder.run_id
    # Trials go into the experiment of the sweep's run, which `mlflow run` may have chosen.
    config = replace(
        config,
        fixed={**config.fixed, "experiment": parent.experiment},
        labels={"flowerml.campaign": campaign, PARENT: run_id},
    )
    stopping = StopRequest()
    with _recorded_status(parent, stopping), graceful(stopping) as stop_reason:
        os.environ.pop("MLFLOW_RUN_ID", None)  # the sweep's own run: nothing else may be logged to it
        tick = _make_tick(run_id, stop_reason)
        record_start(config, search.trials, parent.recorder)
        decision = None
        swept = optimize(config, study, refill, fork_client, search.workers, tick)
        deliver_journals(config.folders, tick, _DELIVERY_S)
        record_outputs(config, study, swept, parent.recorder)
        if search.confirmed:
            train_confirmations(config, swept, search.confirmed, SEEDS, fork_client, search.workers, tick)
            deliver_journals(config.folders, tick, _DELIVERY_S)
            decision = _select_confirmed(campaign, search.family, parent)
    return SweepResult(run_id, swept, decision)


def _create_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror or error}. Choose another --runs-root") from error


def _make_tick(run_id: str, stop_reason: Callable[[], str | None]) -> Callable[[], None]:
    """A function that raises Stopped where a stop was requested, and writes the sweep's heartbeat when it is due."""
    last = time.monotonic()

    def tick() -> None:
        nonlocal last
        if reason := stop_reason():
            raise Stopped(reason)
        if time.monotonic() - last > _HEARTBEAT_S:
            write_heartbeat(run_id)
            last = time.monotonic()

    return tick


@contextmanager
def _recorded_status(parent: CampaignRun, stopping: StopRequest) -> Iterator[None]:
    """On exit, record the final status of the sweep's run, and of the launcher run of `mlflow run`, if any."""
    status = Status.FAILED

    def set_status(value: str) -> None:
        nonlocal status
        status = Status(value)

    try:
        with (
            watch_run(lambda: None, _HEARTBEAT_S, stopping, find_launcher(stops=True)),
            finalize_status(parent.recorder, set_status, stopping),
        ):
            yield
    finally:
        parent.end_launcher(status.value, now_ms())


def _select_confirmed(campaign: str, family: Family, parent: CampaignRun) -> Decision:
    """Rank the confirmed configurations as a selection does, in a run of kind select under the sweep's."""
    scope = Scope(seeds=SEEDS, kinds=("trial",), family=family.value, campaign=campaign)
    decision = select_configuration(scope, TrackedRuns())
    record_decision(
        decision, lambda name: start_child_run(parent.recorder.run_id, parent.experiment, name, "select"), None
    )
    return decision
