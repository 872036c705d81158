"""One process of a sweep: takes a trial from the queue, trains, tells the study, until nothing is left."""

import csv
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna

from flowerml.console import say
from flowerml.errors import RunFailed, UserError
from flowerml.runs.folder import read_run_file
from flowerml.runs.training import run_training
from flowerml.settings import Settings, resolve
from flowerml.sweep.space import Dimension
from flowerml.sweep.study import Pruner, open_ends, open_study, original, suggest, was_queued
from flowerml.tracking import start_run
from flowerml.training.outcome import Row

STOPPED = 130


@dataclass(frozen=True)
class Task:
    """What a worker needs to know: the study, what is `given` for all trials, what is chosen from, the folder of the trials, and the tags
    of their runs.
    """

    storage: str
    study: str
    about: Mapping[str, Any]
    maximize: bool
    pruner: Pruner
    epochs: int
    seed: int
    beat: int
    given: Mapping[str, Any]
    dimensions: Mapping[str, Dimension]
    folder: Path
    monitor: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def open(self, worker: int = 0) -> optuna.Study:
        """The study, as one of its workers (from 1; 0 looks on) opens it. Raises UserError."""
        return open_study(
            self.storage,
            self.study,
            self.about,
            maximize=self.maximize,
            pruner=self.pruner,
            epochs=self.epochs,
            seed=self.seed,
            worker=worker,
            beat=self.beat,
        )

    def settings(self, chosen: Mapping[str, Any], name: str) -> Settings:
        """Complete settings of one run of the sweep. Raises UserError."""
        return resolve({**self.given, **chosen, "output_dir": str(self.folder / name), "run_name": f"{self.study}-{name}"})[0]


def work(task: Task, number: int, log: Path) -> None:
    """Run trials until the queue is empty and nobody works on one that may have to be tried again. Ends the process: 0 well, 2 where the
    user's settings can't be run, 130 stopped.
    """
    _redirect(log)
    study = task.open(number)
    try:
        while True:
            optuna.storages.fail_stale_trials(study)
            queued, under_way = open_ends(study)
            if queued:
                study.optimize(lambda trial: _objective(task, trial), n_trials=1, catch=(RunFailed, RuntimeError, MemoryError))
            elif under_way:
                time.sleep(min(1.0, task.beat))
            else:
                break
    except UserError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(STOPPED)


def run_all(task: Task, runs: list[tuple[dict[str, Any], str]], log: Path) -> None:
    """Train some configurations, each (settings, name), one after another; what is finished already is left as it is."""
    _redirect(log)
    try:
        for chosen, name in runs:
            _train(task, task.settings(chosen, name), None, "confirm")
    except UserError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(STOPPED)


def _objective(task: Task, trial: optuna.Trial) -> float:
    frozen = trial.study.get_trials(deepcopy=False)[trial.number]
    if not was_queued(frozen):
        raise optuna.TrialPruned("nobody asked for it")
    settings = task.settings(suggest(trial, task.dimensions), f"trial-{original(frozen):04d}")
    trial.set_user_attr("folder", settings.output_dir)
    best = _train(task, settings, trial, "trials")
    if best.pruned:
        raise optuna.TrialPruned(best.pruned)
    return best.value


@dataclass(frozen=True)
class _Reached:
    """The best value of a run, and why it was ended before its time (nothing if it was not)."""

    value: float
    pruned: str


def _train(task: Task, settings: Settings, trial: optuna.Trial | None, phase: str) -> _Reached:
    """One run; one that is finished already (its process died before it could tell) is read from its folder."""
    assert settings.output_dir is not None
    pruned: list[str] = []

    def on_row(row: Row) -> str:
        if trial is None:
            return ""
        trial.report(row[task.monitor], step=int(row["epoch"]))
        if int(row["epoch"]) < settings.epochs and trial.should_prune():
            pruned.append(f"pruned after epoch {int(row['epoch'])}: {task.monitor} {row[task.monitor]:.4f} falls behind other trials")
        return pruned[0] if pruned else ""

    standing = read_run_file(Path(settings.output_dir))
    if standing is None or standing.status != "FINISHED":
        labels = {**task.labels, "flowerml.kind": "trial", "flowerml.phase": phase}
        finished = run_training(settings, start_run, labels=labels, on_row=on_row)
        run_id = finished.run_id
    else:
        run_id = standing.run_id
    value = _best(Path(settings.output_dir), task.monitor, maximize=task.maximize)
    if trial is not None:
        trial.set_user_attr("run_id", run_id)
        trial.set_user_attr("best", value)
    return _Reached(value, "".join(pruned[:1]))


def _best(folder: Path, monitor: str, *, maximize: bool) -> float:
    """The best value in a run's `history.csv`."""
    with (folder / "history.csv").open(encoding="utf-8") as handle:
        values = [float(row[monitor]) for row in csv.DictReader(handle)]
    return max(values) if maximize else min(values)


def _redirect(log: Path) -> None:
    """What a worker says goes into a file: several would speak at once, and stdout is the command's."""
    os.environ.pop("MLFLOW_RUN_ID", None)  # the run that `mlflow run` has opened is the sweep's, not a trial's
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
