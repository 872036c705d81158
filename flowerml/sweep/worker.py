"""A worker process of a sweep: takes trials from the queue, trains them, reports to the study."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError

from flowerml.errors import LeaseLost, RunFailed, UserError
from flowerml.files import is_disk_full
from flowerml.runs.lifecycle.attempts import lease_owner
from flowerml.runs.lifecycle.reap import complete_finished_run
from flowerml.runs.lifecycle.run_file import read_run_file
from flowerml.runs.lifecycle.run_owner import run_id_of
from flowerml.runs.train import run_training
from flowerml.settings import Settings
from flowerml.sweep.config import SweepConfig
from flowerml.sweep.folders import is_leased, values_by_epoch
from flowerml.sweep.storage import DATABASE_ERRORS, call_with_retries
from flowerml.sweep.study import suggest
from flowerml.sweep.trials import (
    BEST,
    FAILED,
    FOLDER,
    PRUNED,
    RUN,
    STOPPED,
    SURPLUS,
    count_unfinished,
    is_requested,
    original_number,
)
from flowerml.tracking import start_run
from flowerml.training.callbacks import EpochMetrics

logger = logging.getLogger(__name__)


class SurplusTrial(Exception):
    """A trial that is not requested, or that is done already."""


def run_trials(config: SweepConfig) -> None:
    """Run trials until the queue is empty and no worker runs one that may have to be tried again.

    Raises:
        UserError: settings that can't be run, a full disk, or the study's database does not answer.
        KeyboardInterrupt: stopped; the trial has a checkpoint.
    """
    study = call_with_retries(config.storage, config.open)

    def count_open() -> tuple[int, int]:
        optuna.storages.fail_stale_trials(study)
        return count_unfinished(study)

    while any(unfinished := call_with_retries(config.storage, count_open)):
        queued, _ = unfinished
        if queued:
            _run_next_trial(config, study)
        else:
            time.sleep(min(1.0, config.heartbeat_s))


def run_confirmations(config: SweepConfig, runs: list[tuple[dict[str, Any], str]]) -> None:
    """Train configurations, each (settings, name), and skip finished ones. Raises as `run_trials`; RunFailed."""
    for chosen, name in sorted(
        runs, key=lambda run: is_leased(config.folder_of(run[1]))
    ):  # those others work on come last
        _train_run(config, config.settings(chosen, name), "confirm", None)


def _run_next_trial(config: SweepConfig, study: optuna.Study) -> None:
    """Run a trial from the queue; a failure of that trial alone does not end the worker."""
    try:
        study.optimize(
            lambda trial: _objective(config, trial),
            n_trials=1,
            catch=(SurplusTrial, RunFailed, RuntimeError, MemoryError),
        )
    except (UpdateFinishedTrialError, ValueError) as error:
        if isinstance(error, ValueError) and "Cannot tell" not in str(error):
            raise
        logger.warning(f"this process was taken for dead, and somebody else tries the trial again ({error})")
    except DATABASE_ERRORS as error:  # the run is in its folder, where the next attempt finds it
        logger.warning(f"the study could not be told ({type(error).__name__})")


def _objective(config: SweepConfig, trial: optuna.Trial) -> float:
    frozen = trial.study.get_trials(deepcopy=False)[trial.number]
    if not is_requested(trial.study, frozen):
        trial.set_user_attr(SURPLUS, True)
        raise SurplusTrial
    settings = config.settings(suggest(trial, config.dimensions), f"trial-{original_number(frozen):04d}")
    trial.set_user_attr(FOLDER, settings.output_dir)
    try:
        reached = _train_run(config, settings, "trials", _EpochReporter(trial, config.monitor, settings.epochs))
    except KeyboardInterrupt:
        _set_attribute(trial, STOPPED, "by hand")
        raise
    except (RunFailed, RuntimeError, MemoryError) as error:
        if is_disk_full(error):  # not this trial's fault, and the next would fail as well
            _set_attribute(trial, STOPPED, "the disk is full")
            raise UserError(str(error)) from error
        if not isinstance(error, LeaseLost):
            _set_attribute(trial, FAILED, (str(error) or type(error).__name__).splitlines()[0][:1000])
            logger.info(f"error: {error}")
        raise
    trial.set_user_attr(RUN, reached.run_id)
    trial.set_user_attr(BEST, reached.best)
    reported = trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values
    for epoch, value in reached.by_epoch.items():
        if epoch not in reported:  # trained by another process
            trial.report(value, epoch)
    pruned = trial.user_attrs.get(PRUNED)
    if pruned is not None and max(reached.by_epoch) < settings.epochs:
        raise optuna.TrialPruned(pruned)
    return reached.best


def _set_attribute(trial: optuna.Trial, name: str, text: str) -> None:
    """Note why a trial ends, unless another process has it by now or the database is unreachable."""
    with suppress(UpdateFinishedTrialError, *DATABASE_ERRORS):
        trial.set_user_attr(name, text)


@dataclass(frozen=True)
class _EpochReporter:
    """Reports each epoch to the study; returns why to prune the trial. An unreachable database ends no training."""

    trial: optuna.Trial
    monitor: str
    epochs: int

    def __call__(self, row: EpochMetrics) -> str:
        epoch, value = int(row["epoch"]), row[self.monitor]
        try:
            self.trial.report(value, step=epoch)
            if epoch == self.epochs or not self.trial.should_prune():
                return ""
            reason = f"pruned after epoch {epoch}: {self.monitor} {value:.4f} falls behind other trials"
            self.trial.set_user_attr(PRUNED, reason)
        except (UpdateFinishedTrialError, *DATABASE_ERRORS) as error:
            logger.warning(f"epoch {epoch} could not be told to the study ({type(error).__name__})")
            return ""
        return reason


@dataclass(frozen=True)
class _RunValues:
    """Values of the monitored metric of a finished run."""

    run_id: str
    by_epoch: dict[int, float]
    best: float


def _train_run(
    config: SweepConfig, settings: Settings, phase: str, on_row: Callable[[EpochMetrics], str] | None
) -> _RunValues:
    """Train one run. Waits for one that a process works on (which was taken for dead), and skips a finished one.

    A run is finished already where its process died before it could report to the study.
    """
    assert settings.output_dir is not None
    folder = Path(settings.output_dir)
    labels = {**config.labels, "flowerml.kind": "trial", "flowerml.phase": phase}
    while True:
        if is_leased(folder):
            logger.info(f"{folder} is being worked on by {lease_owner(folder)}: waiting for it")
        while is_leased(folder):
            time.sleep(1.0)
        run_file = read_run_file(folder)
        if run_file is not None and run_file.status == "FINISHED":
            complete_finished_run(folder)
            break
        try:
            shared = config.folder if settings.probe and phase == "trials" else None
            run_training(settings, start_run, labels=labels, on_row=on_row, shared_backbone=shared)
            break
        except LeaseLost:
            raise
        except UserError:
            if not is_leased(folder):  # else another process was faster
                raise
    by_epoch = values_by_epoch(folder, config.monitor)
    best = (max if config.maximize else min)(by_epoch.values())
    return _RunValues(run_id_of(folder), by_epoch, best)
