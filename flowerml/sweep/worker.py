"""One process of a sweep: takes a trial from the queue, trains, tells the study, until nothing is left."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import optuna
from optuna.exceptions import UpdateFinishedTrialError

from flowerml.errors import LeaseLost, RunFailed, UserError
from flowerml.log import configure_logging
from flowerml.runs.lifecycle.attempts import lease_owner
from flowerml.runs.lifecycle.device_share import DeviceShare
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

STOPPED_CODE = 130
# What a trial must not inherit: it is not the run that `mlflow run` has opened for the sweep.
_NOT_PASSED_ON = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")


class Surplus(Exception):
    """A trial that nobody asked for, or that is done already."""


def work(task: Task, log: Path, share: DeviceShare) -> None:
    """Run trials until the queue is empty and nobody works on one that may have to be tried again. Ends the process: 0
    well, 1 where the study's database is away, 2 where the user's settings can't be run, 130 stopped.
    """
    with_exit_code(lambda: _trials(task), log, share)


def run_all(task: Task, runs: list[tuple[dict[str, Any], str]], log: Path, share: DeviceShare) -> None:
    """Train some configurations, each (settings, name); what is finished is left as it is, and what others work on is
    waited for. Ends the process as `work`.
    """
    with_exit_code(lambda: _confirmations(task, runs), log, share)


def with_exit_code(do: Callable[[], None], log: Path, share: DeviceShare) -> NoReturn:
    """Do it as a process of its own: what it says goes into a file (several would speak at once, and stdout is the
    command's), and it stops, with a checkpoint, when the process that started it dies.
    """
    os.setsid()  # Ctrl-C in a terminal is the command's to pass on
    signal.signal(signal.SIGTERM, _stop)
    _watch_parent()
    for name in _NOT_PASSED_ON:
        os.environ.pop(name, None)
    os.environ.update(share.environment)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    configure_logging()
    if share.threads is not None:
        import torch

        torch.set_num_threads(share.threads)
    try:
        do()
    except UserError as error:
        logger.error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(STOPPED_CODE)
    sys.exit(0)


def _trials(task: Task) -> None:
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


def _confirmations(task: Task, runs: list[tuple[dict[str, Any], str]]) -> None:
    """First those that nobody works on, then those that somebody did."""
    for chosen, name in sorted(runs, key=lambda run: held(task.folder_of(run[1]))):
        _train(task, task.settings(chosen, name), "confirm", None)


def _watch_parent() -> None:
    """A thread that asks this process to stop when the one that started it has died, however it died."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
