"""The loop of a sweep: workers run the queued trials, progress is logged, the best are trained on further seeds."""

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
from flowerml.sweep.config import SweepConfig
from flowerml.sweep.folders import LOGS
from flowerml.sweep.storage import call_with_retries
from flowerml.sweep.study import round_value
from flowerml.sweep.trials import BEST, FAILED, FINISHED_STATES, count_unfinished, fail_unrequested, requested_trials
from flowerml.sweep.workers import RUN_CONFIRMATIONS, RUN_TRIALS, last_line, running_workers

logger = logging.getLogger(__name__)

_POLL_S = 0.3


@dataclass(frozen=True)
class SweepTrials:
    """The requested trials of a finished sweep by number, each in its last attempt, and the number of the best."""

    trials: dict[int, FrozenTrial]
    best: int

    @property
    def best_trial(self) -> FrozenTrial:
        """The trial with the best value."""
        return self.trials[self.best]

    def chosen_settings(self, number: int) -> dict[str, Any]:
        """The settings that were chosen for a trial, as they ran."""
        return {name: round_value(value) for name, value in self.trials[number].params.items()}


def optimize(
    config: SweepConfig,
    study: optuna.Study,
    refill: Callable[[], int],
    fork_client: ForkClient,
    count: int,
    tick: Callable[[], None],
) -> SweepTrials:
    """Run the study's queue with `count` worker processes until all requested trials have ended.

    `refill` enqueues the trials that are missing then (another command may have stopped, or died with, some) and
    returns their number; `tick` is called in every turn and may raise.

    Raises:
        UserError: settings that can't be run, a full disk, or the study's database is gone.
        RunFailed: every trial failed.
        KeyboardInterrupt: stopped; the same command resumes.
    """
    progress = _ProgressLog(config, study)
    logs = _log_files(config, "worker", count)
    while True:
        _drain_queue(config, study, fork_client, logs, progress, tick)
        if not call_with_retries(config.storage, refill):
            break
    call_with_retries(config.storage, lambda: fail_unrequested(study))
    done = call_with_retries(config.storage, lambda: requested_trials(study.get_trials(deepcopy=False)))
    values = {
        number: trial.value
        for number, trial in done.items()
        if trial.state is TrialState.COMPLETE and trial.value is not None
    }
    if not values:
        raise RunFailed(
            f"no trial of study {config.study} was completed: the logs in {config.folder / 'logs'} say why"
            f" ({last_line(logs[0])})"
        )
    return SweepTrials(done, (max if config.maximize else min)(values, key=lambda number: values[number]))


def train_confirmations(
    config: SweepConfig,
    swept: SweepTrials,
    count: int,
    seeds: tuple[int, ...],
    fork_client: ForkClient,
    worker_count: int,
    tick: Callable[[], None],
) -> None:
    """Train the `count` best configurations on further seeds. Raises RunFailed where a run fails."""
    ranked = [number for number, trial in swept.trials.items() if trial.state is TrialState.COMPLETE]
    ranked.sort(key=lambda number: swept.trials[number].user_attrs[BEST], reverse=config.maximize)
    runs = [
        ({**swept.chosen_settings(number), "seed": seed}, f"trial-{number:04d}-s{seed}")
        for number in ranked[:count]
        for seed in seeds
        if seed != config.seed
    ]
    if not runs:
        return
    logger.info(
        f"confirming the best {min(count, len(ranked))} on seeds {', '.join(map(str, seeds))}: {len(runs)} runs"
    )
    logs = _log_files(config, "confirm", min(worker_count, len(runs)))

    with running_workers(fork_client, RUN_CONFIRMATIONS, (config, runs), logs, _gpus_to_share(config)) as workers:
        while workers.supervise(_POLL_S):
            tick()


def _log_files(config: SweepConfig, name: str, count: int) -> list[Path]:
    """A log file for each worker of this command."""
    folder = config.folder / LOGS
    folder.mkdir(parents=True, exist_ok=True)
    return [folder / f"{socket.gethostname()}-{os.getpid()}-{name}-{number}.log" for number in range(1, count + 1)]


def _gpus_to_share(config: SweepConfig) -> Sequence[str]:
    """The GPUs to share among the workers; none where a device is given."""
    return () if "device" in config.fixed else visible_gpus()


def _drain_queue(
    config: SweepConfig,
    study: optuna.Study,
    fork_client: ForkClient,
    logs: list[Path],
    progress: "_ProgressLog",
    tick: Callable[[], None],
) -> None:
    """Run workers, and log each trial that ends, until no trial is queued or running."""

    def count_open() -> int:
        optuna.storages.fail_stale_trials(study)
        return sum(count_unfinished(study))

    unfinished = call_with_retries(config.storage, count_open)
    if not unfinished:
        return
    with running_workers(fork_client, RUN_TRIALS, (config,), logs[:unfinished], _gpus_to_share(config)) as workers:
        while workers.supervise(_POLL_S):
            tick()
            call_with_retries(config.storage, progress.log_new)
    call_with_retries(config.storage, progress.log_new)
    if unfinished := call_with_retries(config.storage, count_open):
        raise RunFailed(
            f"no worker is left, and {unfinished} trials have not ended: the logs in {config.folder / 'logs'} say why."
            " The same command goes on"
        )


@dataclass
class _ProgressLog:
    """Logs a line per trial that has ended since the command began."""

    config: SweepConfig
    study: optuna.Study
    logged: set[int] = field(default_factory=set)
    ended: int = 0
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.logged |= {
            trial.number
            for trial in requested_trials(self.study.get_trials(deepcopy=False)).values()
            if trial.state in FINISHED_STATES
        }

    def log_new(self) -> None:
        """Log the trials that have ended since the last call."""
        trials = requested_trials(self.study.get_trials(deepcopy=False))
        new = {
            number: trial
            for number, trial in trials.items()
            if trial.state in FINISHED_STATES and trial.number not in self.logged
        }
        left = sum(trial.state not in FINISHED_STATES for trial in trials.values())
        values = [
            trial.value for trial in trials.values() if trial.state is TrialState.COMPLETE and trial.value is not None
        ]
        for number, trial in new.items():
            self.logged.add(trial.number)
            self.ended += 1
            best = "" if not values else f", best so far {(max if self.config.maximize else min)(values):.4f}"
            reached = trial.user_attrs.get(BEST)
            seconds_per_trial = (time.monotonic() - self.started) / self.ended
            logger.info(
                f"trial {number}{_state_note(trial)}: {self.config.monitor}"
                f" {'-' if reached is None else f'{reached:.4f}'}{best}; {left}"
                f" left{f', about {duration(left * seconds_per_trial)}' if left else ''}"
            )


def _state_note(trial: FrozenTrial) -> str:
    if trial.state is TrialState.FAIL:
        return (
            f" (failed: {trial.user_attrs[FAILED]})"
            if FAILED in trial.user_attrs
            else " (its process died, or was stopped)"
        )
    return " (pruned)" if trial.state is TrialState.PRUNED else ""
