"""What a sweep leaves in its folder and in its run: figures, a table, and the best values."""

from pathlib import Path

from optuna import Study
from optuna.trial import TrialState

from flowerml.events import Artifact, Metrics, Params, Recorder, Tags
from flowerml.files import write_bytes, write_text
from flowerml.reporting.figures import png_bytes
from flowerml.settings.serialization import as_text
from flowerml.sweep.loop import Swept
from flowerml.sweep.results import (
    as_csv,
    as_markdown,
    history_figure,
    importance_figure,
    importances,
    parallel_figure,
    rows,
)
from flowerml.sweep.space import words
from flowerml.sweep.study import as_run
from flowerml.sweep.task import Task
from flowerml.sweep.trials import BEST, RUN

_NOTE = 5000  # characters of a description


def begin(task: Task, trials: int, recorder: Recorder) -> None:
    """Say in the sweep's run what it searches. What it began with stays a param; `flowerml.trials` is what was asked
    for last.
    """
    recorder.record(Tags({"flowerml.study": task.study, "flowerml.trials": str(trials)}))
    fixed = {name: as_text(value) for name, value in task.given.items()}
    recorder.record(
        Params({**fixed, "trials": str(trials), "study": task.study, "pruner": task.pruner, "monitor": task.monitor})
    )
    recorder.record(
        Params({f"space_{line.split(':')[0].strip()}": line.split(": ", 1)[1] for line in words(task.dimensions)})
    )


def leave(task: Task, study: Study, swept: Swept, recorder: Recorder) -> None:
    """Write table and figures, and record them with the best values. Raises UserError: the folder can't be written to."""
    for path in _files(task, study, swept):
        recorder.record(Artifact(path))
    states = [trial.state for trial in swept.trials.values()]
    counts = {
        state.name.lower(): float(states.count(state))
        for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    }
    best = swept.best_trial
    value, run = best.user_attrs[BEST], str(best.user_attrs.get(RUN, ""))
    recorder.record(
        Metrics(
            {f"trials_{name}": count for name, count in counts.items()} | {f"best_{task.monitor}": value}, len(states)
        )
    )
    chosen = ", ".join(f"{name} {as_text(as_run(value))}" for name, value in best.params.items())
    table = as_markdown(rows(swept.trials, task.monitor, maximize=task.maximize))
    note = f"**Best: trial {swept.best}, {task.monitor} {value:.4f}** ({chosen}), run `{run}`.\n\n{table}"
    recorder.record(Tags({"mlflow.note.content": note[:_NOTE], "flowerml.chosen_run": run}))


def _files(task: Task, study: Study, swept: Swept) -> list[Path]:
    title = f"Sweep {task.study}"
    table = rows(swept.trials, task.monitor, maximize=task.maximize)
    write_text(task.folder / "trials.csv", as_csv(table))
    write_text(task.folder / "trials.md", as_markdown(table))
    figures = {
        "history.png": history_figure(swept.trials, task.monitor, title, maximize=task.maximize),
        "parallel.png": parallel_figure(swept.trials, task.monitor, title, maximize=task.maximize),
    }
    if shares := importances(study):
        figures["importances.png"] = importance_figure(shares, title)
    for name, figure in figures.items():
        write_bytes(task.folder / name, png_bytes(figure))
    return [task.folder / name for name in ("trials.csv", "trials.md", *figures)]
