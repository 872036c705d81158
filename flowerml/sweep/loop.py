"""A sweep from its first trial to its last: workers, progress, confirmation on further seeds."""

import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from flowerml.errors import RunFailed
from flowerml.forkserver.client import ForkClient
from flowerml.human_units import duration
from flowerml.runs.lifecycle.device_share import visible_gpus
from flowerml.sweep.storage import patiently
from flowerml.sweep.study import as_run
from flowerml.sweep.task import Task
from flowerml.sweep.trials import BEST, ENDED, FAILED, counted, end_unasked, open_ends
from flowerml.sweep.worker import run_confirmations, run_trials
from flowerml.sweep.workers import last_line, running_workers

logger = logging.getLogger(__name__)

_POLL_S = 0.3


@dataclass(frozen=True)
class Swept:
    """What a sweep has come to: the trials that were asked for, each in its last try, by number; and the number of the
    best one.
    """

    trials: dict[int, FrozenTrial]
    best: int

    @property
    def best_trial(self) -> FrozenTrial:
        """The trial with the best value."""
        return self.trials[self.best]

    def chosen(self, number: int) -> dict[str, Any]:
        """The settings that were chosen for a trial, as they ran."""
        return {name: as_run(value) for name, value in self.trials[number].params.items()}


def sweep(
    task: Task,
    study: optuna.Study,
    refill: Callable[[], int],
    fork_client: ForkClient,
    count: int,
    beat: Callable[[], None],
) -> Swept:
    """Work off the study's queue with several worker processes. `refill` queues what is still missing then (somebody
    else may have stopped, or died with, a trial that counts), and says how much that was; `beat` is called again and
    again.

    Raises:
        UserError: settings that can't be run, or the study's database is gone; RunFailed: every trial failed.
        KeyboardInterrupt: stopped; the same command goes on.
    """
    progress = _Progress(task, study)
    logs = _logs(task, "worker", count)
    while True:
        _work_through(task, study, fork_client, logs, progress, beat)
        if not patiently(task.storage, refill):
            break
    patiently(task.storage, lambda: end_unasked(study))
    done = patiently(task.storage, lambda: counted(study.get_trials(deepcopy=False)))
    values = {
        number: trial.value
        for number, trial in done.items()
        if trial.state is TrialState.COMPLETE and trial.value is not None
    }
    if not values:
        raise RunFailed(
            f"no trial of study {task.study} was completed: the logs in {task.folder / 'logs'} say why"
            f" ({last_line(logs[0])})"
        )
    return Swept(done, (max if task.maximize else min)(values, key=lambda number: values[number]))


def confirm(
    task: Task,
    swept: Swept,
    count: int,
    seeds: tuple[int, ...],
    fork_client: ForkClient,
    workers_count: int,
    beat: Callable[[], None],
) -> None:
    """Train the `count` best configurations on further seeds. Raises RunFailed where a run fails."""
    ranked = [number for number, trial in swept.trials.items() if trial.state is TrialState.COMPLETE]
    ranked.sort(key=lambda number: swept.trials[number].user_attrs[BEST], reverse=task.maximize)
    runs = [
        ({**swept.chosen(number), "seed": seed}, f"trial-{number:04d}-s{seed}")
        for number in ranked[:count]
        for seed in seeds
        if seed != task.seed
    ]
    if not runs:
        return
    logger.info(
        f"confirming the best {min(count, len(ranked))} on seeds {', '.join(map(str, seeds))}: {len(runs)} runs"
    )
    logs = _logs(task, "confirm", min(workers_count, len(runs)))

    with running_workers(fork_client, run_confirmations, (task, runs), logs, _gpus(task)) as workers:
        while workers.supervise(_POLL_S):
            beat()


def _logs(task: Task, name: str, count: int) -> list[Path]:
    """A file for each worker, of this command alone."""
    folder = task.folder / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return [folder / f"{socket.gethostname()}-{os.getpid()}-{name}-{number}.log" for number in range(1, count + 1)]


def _gpus(task: Task) -> Sequence[str]:
    """What is shared out; whoever has named a device has it."""
    return () if "device" in task.given else visible_gpus()


def _work_through(
    task: Task,
    study: optuna.Study,
    fork_client: ForkClient,
    logs: list[Path],
    progress: "_Progress",
    beat: Callable[[], None],
) -> None:
    """Keep workers at it, and tell of each trial that ends, until nothing is queued or under way."""

    def open_still() -> int:
        optuna.storages.fail_stale_trials(study)
        return sum(open_ends(study))

    left = patiently(task.storage, open_still)
    if not left:
        return
    with running_workers(fork_client, run_trials, (task,), logs[:left], _gpus(task)) as workers:
        while workers.supervise(_POLL_S):
            beat()
            patiently(task.storage, progress.tell)
    patiently(task.storage, progress.tell)
    if left := patiently(task.storage, open_still):
        raise RunFailed(
            f"no worker is left, and {left} trials have not ended: the logs in {task.folder / 'logs'} say why. The same"
            " command goes on"
        )


@dataclass
class _Progress:
    """A line per trial that has ended since the command began."""

    task: Task
    study: optuna.Study
    told: set[int] = field(default_factory=set)
    ended: int = 0
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.told |= {
            trial.number for trial in counted(self.study.get_trials(deepcopy=False)).values() if trial.state in ENDED
        }

    def tell(self) -> None:
        """Tell of those that have ended since the last call."""
        trials = counted(self.study.get_trials(deepcopy=False))
        new = {
            number: trial for number, trial in trials.items() if trial.state in ENDED and trial.number not in self.told
        }
        left = sum(trial.state not in ENDED for trial in trials.values())
        values = [
            trial.value for trial in trials.values() if trial.state is TrialState.COMPLETE and trial.value is not None
        ]
        for number, trial in new.items():
            self.told.add(trial.number)
            self.ended += 1
            best = "" if not values else f", best so far {(max if self.task.maximize else min)(values):.4f}"
            reached = trial.user_attrs.get(BEST)
            each = (time.monotonic() - self.started) / self.ended
            logger.info(
                f"trial {number}{_how(trial)}: {self.task.monitor}"
                f" {'-' if reached is None else f'{reached:.4f}'}{best}; {left}"
                f" left{f', about {duration(left * each)}' if left else ''}"
            )


def _how(trial: FrozenTrial) -> str:
    if trial.state is TrialState.FAIL:
        return (
            f" (failed: {trial.user_attrs[FAILED]})"
            if FAILED in trial.user_attrs
            else " (its process died, or was stopped)"
        )
    return " (pruned)" if trial.state is TrialState.PRUNED else ""
