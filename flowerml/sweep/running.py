"""A sweep from its first trial to its figures: workers, progress, what is left at the end, confirmation on further seeds."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from flowerml.console import duration, say, warn
from flowerml.errors import RunFailed, UserError
from flowerml.sweep.study import ENDED, last_tries, open_ends, queue, was_queued
from flowerml.sweep.worker import STOPPED, Task, run_all, work

_SPARES = 3  # workers that are started anew after all have died
_SHOWN = 15  # lines of a worker's log where it failed


@dataclass(frozen=True)
class Swept:
    """What a sweep has come to: the last try of every trial, and the one with the best value (None where none was completed)."""

    trials: tuple[FrozenTrial, ...]
    best: FrozenTrial | None


def sweep(task: Task, trials: int, points: list[dict[str, Any]] | None, workers: int) -> Swept:
    """Run the study up to `trials` trials, with several worker processes.

    Raises:
        UserError: settings that can't be run; RunFailed: every trial failed.
        KeyboardInterrupt: stopped; the same command goes on.
    """
    study = task.open()
    fresh = queue(study, trials, points)
    before = sum(trial.state in ENDED for trial in last_tries(study))
    who = f"{workers} worker{'s' * (workers > 1)}"
    say(f"study {task.study}: {before} trials are done, {fresh} new ones queued; {who}, logs in {task.folder}")
    _work_through(task, study, workers)
    optuna.storages.fail_stale_trials(study)
    done = last_tries(study)
    completed = [trial for trial in done if trial.state is TrialState.COMPLETE]
    if not completed:
        raise RunFailed(f"no trial of study {task.study} was completed: the logs in {task.folder} say why")
    return Swept(tuple(done), study.best_trial)


def confirm(task: Task, swept: Swept, count: int, seeds: tuple[int, ...]) -> None:
    """Train the `count` best configurations on further seeds. Raises RunFailed where a run fails."""
    ranked = [trial for trial in swept.trials if trial.state is TrialState.COMPLETE]
    ranked.sort(key=lambda trial: (-trial.value if task.maximize else trial.value) if trial.value is not None else 0.0)
    runs = [
        ({**_chosen(trial), "seed": seed}, f"trial-{trial.number:04d}-s{seed}")
        for trial in ranked[:count]
        for seed in seeds
        if seed != task.seed
    ]
    say(f"confirming the best {min(count, len(ranked))} on seeds {', '.join(map(str, seeds))}: {len(runs)} runs")
    log = task.folder / "confirm.log"
    with _processes(1, lambda _number: (run_all, (task, runs, log))) as started:
        started[0].join()
        _judge(started[0], log)


def _chosen(trial: FrozenTrial) -> dict[str, Any]:
    """The settings of a trial as they ran: floats with six digits, as `suggest` rounds them."""
    return {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in trial.params.items()}


def _work_through(task: Task, study: optuna.Study, workers: int) -> None:
    """Keep workers at it, and tell of each trial that ends, until nothing is queued or under way."""
    told = {trial.number for trial in study.get_trials(deepcopy=False) if trial.state in ENDED}
    spares, started_at, ended = _SPARES, time.monotonic(), 0
    count = workers
    while count:
        with _processes(count, lambda number: (work, (task, number, task.folder / f"worker-{number}.log"))) as processes:
            while any(process.is_alive() for process in processes):
                time.sleep(0.3)
                ended += _tell(task, study, told, ended, started_at)
            for number, process in enumerate(processes, start=1):
                _judge(process, task.folder / f"worker-{number}.log")
        _tell(task, study, told, ended, started_at)
        left, spares = sum(open_ends(study)), spares - 1
        count = min(workers, left) if left and spares >= 0 else 0
        if count:
            warn(f"every worker has ended, and {left} trials have not: {count} started anew")


def _tell(task: Task, study: optuna.Study, told: set[int], ended: int, started: float) -> int:
    """A line per trial that has ended since; returns how many."""
    trials = study.get_trials(deepcopy=False)
    new = [trial for trial in trials if trial.state in ENDED and trial.number not in told]
    left = sum(trial.state not in ENDED for trial in trials)
    for count, trial in enumerate(new, start=1):
        told.add(trial.number)
        if not was_queued(trial):
            continue
        values = [other.value for other in trials if other.state is TrialState.COMPLETE and other.value is not None]
        best = (max(values) if task.maximize else min(values)) if values else None
        reached = trial.user_attrs.get("best")
        words = {"COMPLETE": "", "PRUNED": " (pruned)", "FAIL": " (failed)"}[trial.state.name]
        each = (time.monotonic() - started) / (ended + count)
        say(
            f"trial {trial.number}{words}: {task.monitor} {'-' if reached is None else f'{reached:.4f}'}"
            f"{'' if best is None else f', best so far {best:.4f}'}; {left} left{f', about {duration(left * each)}' if left else ''}"
        )
    return len(new)


@contextmanager
def _processes(count: int, target: Callable[[int], tuple[Callable[..., None], tuple[Any, ...]]]) -> Iterator[list[BaseProcess]]:
    """Some processes, forked from a server that has imported what they need; asked to stop, with their checkpoints, if we are."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["flowerml.sweep.worker"])
    started: list[Any] = []
    try:
        for number in range(1, count + 1):
            function, words = target(number)
            process = context.Process(target=function, args=words, name=f"sweep-worker-{number}")
            process.start()
            started.append(process)
        yield started
    finally:
        for process in started:
            if process.is_alive():
                process.terminate()
        for process in started:
            process.join()


def _judge(process: BaseProcess, log: Path) -> None:
    """What a worker's end means. Raises UserError where the user's settings can't be run; KeyboardInterrupt where it was asked to stop."""
    if process.exitcode == 0:
        return
    last = _last_lines(log)
    if process.exitcode == STOPPED:
        raise KeyboardInterrupt
    if process.exitcode == UserError.exit_code and last and last[-1].startswith("error: "):
        raise UserError(last[-1].removeprefix("error: "))
    warn(f"{process.name} ended with {process.exitcode}; the end of {log}:")
    for line in last:
        say(f"  {line}")


def _last_lines(log: Path) -> list[str]:
    try:
        return log.read_text("utf-8", errors="replace").splitlines()[-_SHOWN:]
    except OSError:
        return []
