"""One process of a sweep: takes a trial from the queue, trains, tells the study, until nothing is left."""

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
from flowerml.runs.lifecycle.lease import lease_owner
from flowerml.runs.lifecycle.run_file import read_run_file
from flowerml.runs.train import run_training
from flowerml.settings import Settings
from flowerml.sweep.folders import epochs_of, held, run_id_of
from flowerml.sweep.storage import TROUBLE, patiently
from flowerml.sweep.study import suggest
from flowerml.sweep.task import Task
from flowerml.sweep.trials import BEST, FAILED, FOLDER, PRUNED, RUN, STOPPED, SURPLUS, is_wanted, open_ends, original
from flowerml.tracking import start_run
from flowerml.training.callbacks import EpochMetrics

logger = logging.getLogger(__name__)


class Surplus(Exception):
    """A trial that nobody asked for, or that is done already."""


def run_trials(task: Task) -> None:
    """Run trials until the queue is empty and no worker runs one that may have to be tried again.

    Raises:
        UserError: settings that can't be run, or the study's database does not answer.
        KeyboardInterrupt: stopped; the trial has a checkpoint.
    """
    study = patiently(task.storage, task.open)

    def look() -> tuple[int, int]:
        optuna.storages.fail_stale_trials(study)
        return open_ends(study)

    while any(left := patiently(task.storage, look)):
        queued, _ = left
        if queued:
            _one(task, study)
        else:
            time.sleep(min(1.0, task.beat))


def run_confirmations(task: Task, runs: list[tuple[dict[str, Any], str]]) -> None:
    """Train configurations, each (settings, name), and skip finished ones. Raises as `run_trials`; RunFailed."""
    for chosen, name in sorted(runs, key=lambda run: held(task.folder_of(run[1]))):  # those others work on come last
        _train(task, task.settings(chosen, name), "confirm", None)


def _one(task: Task, study: optuna.Study) -> None:
    """Run a trial from the queue; what is wrong with it alone does not end the worker."""
    try:
        study.optimize(
            lambda trial: _objective(task, trial), n_trials=1, catch=(Surplus, RunFailed, RuntimeError, MemoryError)
        )
    except (UpdateFinishedTrialError, ValueError) as error:
        if isinstance(error, ValueError) and "Cannot tell" not in str(error):
            raise
        logger.warning(f"this process was taken for dead, and somebody else tries the trial again ({error})")
    except TROUBLE as error:  # its run is written down: whoever tries it again finds it
        logger.warning(f"the study could not be told ({type(error).__name__})")


def _objective(task: Task, trial: optuna.Trial) -> float:
    frozen = trial.study.get_trials(deepcopy=False)[trial.number]
    if not is_wanted(trial.study, frozen):
        trial.set_user_attr(SURPLUS, True)
        raise Surplus
    settings = task.settings(suggest(trial, task.dimensions), f"trial-{original(frozen):04d}")
    trial.set_user_attr(FOLDER, settings.output_dir)
    try:
        best = _train(task, settings, "trials", _Reporting(trial, task.monitor, settings.epochs))
    except KeyboardInterrupt:
        _note(trial, STOPPED, "by hand")
        raise
    except (RunFailed, RuntimeError, MemoryError) as error:
        if not isinstance(error, LeaseLost):
            _note(trial, FAILED, (str(error) or type(error).__name__).splitlines()[0][:1000])
            logger.info(f"error: {error}")
        raise
    trial.set_user_attr(RUN, best.run_id)
    trial.set_user_attr(BEST, best.value)
    for epoch, value in best.epochs.items():
        if (
            epoch not in trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        ):  # trained while this one waited
            trial.report(value, epoch)
    pruned = trial.user_attrs.get(PRUNED)
    if pruned is not None and max(best.epochs) < settings.epochs:
        raise optuna.TrialPruned(pruned)
    return best.value


def _note(trial: optuna.Trial, name: str, words: str) -> None:
    """Write down why a trial ends; nothing where it is somebody else's by now, or the study can't be told."""
    with suppress(UpdateFinishedTrialError, *TROUBLE):
        trial.set_user_attr(name, words)


@dataclass(frozen=True)
class _Reporting:
    """Tells the study of each epoch, and whether the trial falls behind. A study that can't be told ends no training."""

    trial: optuna.Trial
    monitor: str
    epochs: int

    def __call__(self, row: EpochMetrics) -> str:
        epoch, value = int(row["epoch"]), row[self.monitor]
        try:
            self.trial.report(value, step=epoch)
            if epoch == self.epochs or not self.trial.should_prune():
                return ""
            words = f"pruned after epoch {epoch}: {self.monitor} {value:.4f} falls behind other trials"
            self.trial.set_user_attr(PRUNED, words)
        except (UpdateFinishedTrialError, *TROUBLE) as error:
            logger.warning(f"epoch {epoch} could not be told to the study ({type(error).__name__})")
            return ""
        return words


@dataclass(frozen=True)
class _Reached:
    """What a run has come to: its values by epoch, and the best of them."""

    run_id: str
    epochs: dict[int, float]
    value: float


def _train(task: Task, settings: Settings, phase: str, on_row: Callable[[EpochMetrics], str] | None) -> _Reached:
    """One run; one that is finished already (its process died before it could tell) is read from its folder, and one
    that somebody works on (a process that was taken for dead) is waited for.
    """
    assert settings.output_dir is not None
    folder = Path(settings.output_dir)
    labels = {**task.labels, "flowerml.kind": "trial", "flowerml.phase": phase}
    while True:
        if held(folder):
            logger.info(f"{folder} is being worked on by {lease_owner(folder)}: waiting for it")
        while held(folder):
            time.sleep(1.0)
        standing = read_run_file(folder)
        if standing is not None and standing.status == "FINISHED":
            break
        try:
            run_training(settings, start_run, labels=labels, on_row=on_row)
            break
        except LeaseLost:
            raise
        except UserError:
            if not held(folder):  # else somebody was faster
                raise
    epochs = epochs_of(folder, task.monitor)
    return _Reached(run_id_of(folder), epochs, max(epochs.values()) if task.maximize else min(epochs.values()))
