"""A sweep from its command to its last file: its own run at the tracking server, its trials, the decision, the right
state at the end.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from flowerml.errors import UserError
from flowerml.events import Status, now_ms
from flowerml.forkserver.client import ForkClient
from flowerml.runs.lifecycle.stop_request import StopRequest, graceful, launcher_of, watched
from flowerml.runs.lifecycle.termination import finalize_status
from flowerml.runs.select import choose, record
from flowerml.selection.decision import Decision
from flowerml.selection.records import Scope
from flowerml.settings import Family
from flowerml.sweep.folders import deliver, require_own
from flowerml.sweep.loop import Swept, confirm, sweep
from flowerml.sweep.outputs import begin, leave
from flowerml.sweep.storage import patiently
from flowerml.sweep.task import Task
from flowerml.sweep.trials import ENDED, counted, name_of, queue
from flowerml.sweep.worker import run_trials
from flowerml.tracking import TrackedRuns, start_child
from flowerml.tracking.search.campaigns import PARENT, CampaignRun
from flowerml.tracking.search.sweeps import open_sweep, write_heartbeat
from flowerml.training.callbacks import Stopped

logger = logging.getLogger(__name__)

SEEDS = (11, 23, 47)
_SIGN_S = 30.0
_DELIVERY_S = 600.0


@dataclass(frozen=True)
class SweepResult:
    """A sweep that is over: its run, its trials, and what was decided on further seeds (None where nothing was to be
    confirmed).
    """

    run_id: str
    swept: Swept
    decision: Decision | None


@dataclass(frozen=True)
class Search:
    """What is asked for: how many `trials` in all, in which `family`, from a grid's `points` (None: the sampler
    chooses), by how many `workers`; how many of the best are to be `confirmed` on further seeds; the MLflow experiment.
    """

    trials: int
    family: Family
    points: list[dict[str, Any]] | None
    workers: int
    confirmed: int
    experiment: str


def run_sweep(task: Task, search: Search) -> SweepResult:
    """Search, or go on with it, and leave what there is to see of it.

    Raises:
        UserError: the study or the tracking server can't be had, or the folder can't be written to: nothing was begun.
        RunFailed: it can't go on; its run is FAILED, with the reason.
        KeyboardInterrupt: it was asked to stop; its run is KILLED, and the same command goes on.
    """
    try:
        task.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{task.folder}: {error.strerror or error}. Choose another --runs-root") from error
    study = patiently(task.storage, task.open, 0.0)

    def refill() -> int:
        return queue(study, search.trials, search.points)

    fresh = patiently(task.storage, refill)
    trials = patiently(task.storage, lambda: counted(study.get_trials(deepcopy=False)))
    ended = sum(trial.state in ENDED for trial in trials.values())
    who = f"{search.workers} worker{'s' * (search.workers > 1)}"
    logger.info(
        f"study {task.study}: {ended} of {len(trials)} trials are done, {fresh} newly queued; {who}, logs in"
        f" {task.folder / 'logs'}"
    )
    campaign = name_of(study)
    require_own(task.folders, campaign)
    tags = {"flowerml.family": search.family.value, "flowerml.model": str(task.about["model"])}
    parent = open_sweep(campaign, f"sweep {task.study}", search.experiment, tags)
    run_id = parent.recorder.run_id
    # Trials stand beside the sweep's run, in the experiment that `mlflow run` has put that one into.
    task = replace(
        task,
        given={**task.given, "experiment": parent.experiment},
        labels={"flowerml.campaign": campaign, PARENT: run_id},
    )
    stopping = StopRequest()
    with _closing(parent, stopping), graceful(stopping) as asked:
        os.environ.pop("MLFLOW_RUN_ID", None)  # it is the sweep's: nothing else that this process writes belongs there
        beat = _beat(run_id, asked)
        begin(task, search.trials, parent.recorder)
        decision = None
        with closing(ForkClient(run_trials.__module__)) as fork_client:
            swept = sweep(task, study, refill, fork_client, search.workers, beat)
            deliver(task.folders, beat, _DELIVERY_S)
            leave(task, study, swept, parent.recorder)
            if search.confirmed:
                confirm(task, swept, search.confirmed, SEEDS, fork_client, search.workers, beat)
                deliver(task.folders, beat, _DELIVERY_S)
                decision = _decide(campaign, search.family, parent)
    return SweepResult(run_id, swept, decision)


def _beat(run_id: str, asked: Callable[[], str | None]) -> Callable[[], None]:
    """What is called again and again: raises Stopped where somebody asks for it, and gives a sign of life now and then."""
    last = time.monotonic()

    def beat() -> None:
        nonlocal last
        if reason := asked():
            raise Stopped(reason)
        if time.monotonic() - last > _SIGN_S:
            write_heartbeat(run_id)
            last = time.monotonic()

    return beat


@contextmanager
def _closing(parent: CampaignRun, stopping: StopRequest) -> Iterator[None]:
    """Whatever happens, the sweep's run ends in the right state, and so does the run that `mlflow run` has opened to go
    on with it.
    """
    status = Status.FAILED

    def ended(word: str) -> None:
        nonlocal status
        status = Status(word)

    try:
        with (
            watched(lambda: None, _SIGN_S, stopping, launcher_of(stops=True)),
            finalize_status(parent.recorder, ended, stopping),
        ):
            yield
    finally:
        parent.end_launcher(status.value, now_ms())


def _decide(campaign: str, family: Family, parent: CampaignRun) -> Decision:
    """Rank what was confirmed, by the selector's own rule, in a run of kind select under the sweep's."""
    scope = Scope(seeds=SEEDS, kinds=("trial",), family=family.value, campaign=campaign)
    decision = choose(scope, TrackedRuns())
    record(decision, lambda name: start_child(parent.recorder.run_id, parent.experiment, name, "select"), None)
    return decision
