"""What a sweep leaves in its folder and in its run: figures, a table, and the best values."""

from pathlib import Path

from optuna.trial import TrialState

from flowerml.evaluation.figures import png_bytes
from flowerml.events import Artifact, Metrics, Params, Recorder, Tags
from flowerml.files import write_bytes, write_text
from flowerml.settings.text import as_text
from flowerml.sweep.results import as_csv, as_markdown, history_figure, importance_figure, importances, parallel_figure, rows
from flowerml.sweep.running import Swept
from flowerml.sweep.space import words
from flowerml.sweep.worker import Task

_NOTE = 5000  # characters of a description


def begin(task: Task, trials: int, recorder: Recorder) -> None:
    """Say in the sweep's run what it searches."""
    recorder.record(Tags({**task.labels, "flowerml.sweep": task.study}))
    fixed = {name: as_text(value) for name, value in task.given.items()}
    recorder.record(Params({**fixed, "trials": str(trials), "study": task.study, "pruner": task.pruner, "monitor": task.monitor}))
    recorder.record(Params({f"space_{line.split(':')[0].strip()}": line.split(": ", 1)[1] for line in words(task.dimensions)}))


def leave(task: Task, swept: Swept, recorder: Recorder) -> None:
    """Write table and figures, and record them with the best values. Raises UserError: the folder can't be written to."""
    for path in _files(task, swept):
        recorder.record(Artifact(path))
    states = [trial.state for trial in swept.trials]
    counts = {state.name.lower(): float(states.count(state)) for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)}
    best = swept.best
    assert best is not None
    assert best.value is not None
    recorder.record(Metrics({f"trials_{name}": count for name, count in counts.items()} | {f"best_{task.monitor}": best.value}))
    chosen = ", ".join(f"{name} {as_text(value)}" for name, value in best.params.items())
    table = as_markdown(rows(swept.trials, task.monitor, maximize=task.maximize))
    note = (
        f"**Best: trial {best.number}, {task.monitor} {best.value:.4f}** ({chosen}), run `{best.user_attrs.get('run_id', '')}`.\n\n{table}"
    )
    recorder.record(Tags({"mlflow.note.content": note[:_NOTE], "flowerml.chosen_run": str(best.user_attrs.get("run_id", ""))}))


def _files(task: Task, swept: Swept) -> list[Path]:
    title = f"Sweep {task.study}"
    table = rows(swept.trials, task.monitor, maximize=task.maximize)
    write_text(task.folder / "trials.csv", as_csv(table))
    write_text(task.folder / "trials.md", as_markdown(table))
    figures = {
        "history.png": history_figure(swept.trials, task.monitor, title, maximize=task.maximize),
        "parallel.png": parallel_figure(swept.trials, task.monitor, title, maximize=task.maximize),
    }
    if shares := importances(task.open()):
        figures["importances.png"] = importance_figure(shares, title)
    for name, figure in figures.items():
        write_bytes(task.folder / name, png_bytes(figure))
    return [task.folder / name for name in ("trials.csv", "trials.md", *figures)]
