"""Outputs of a sweep, in its folder and its MLflow run: a table, figures, and the best values."""

from pathlib import Path

from optuna import Study
from optuna.trial import TrialState

from flowerml.events import Artifact, Metrics, Params, Recorder, Tags
from flowerml.files import write_bytes, write_text
from flowerml.reporting.figures import png_bytes
from flowerml.settings.serialization import as_text
from flowerml.sweep.config import SweepConfig
from flowerml.sweep.loop import SweepTrials
from flowerml.sweep.report.results import (
    history_figure,
    importance_figure,
    importances,
    parallel_figure,
    table_rows,
    trials_csv,
    trials_markdown,
)
from flowerml.sweep.space import describe_space
from flowerml.sweep.study import round_value
from flowerml.sweep.trials import BEST, RUN

_NOTE_LENGTH = 5000  # characters of a description


def record_start(config: SweepConfig, trials: int, recorder: Recorder) -> None:
    """Record what is searched. Params keep the first command's values; the tag `flowerml.trials` has the latest."""
    recorder.record(Tags({"flowerml.study": config.study, "flowerml.trials": str(trials)}))
    fixed = {name: as_text(value) for name, value in config.fixed.items()}
    recorder.record(
        Params(
            {**fixed, "trials": str(trials), "study": config.study, "pruner": config.pruner, "monitor": config.monitor}
        )
    )
    recorder.record(
        Params(
            {
                f"space_{line.split(':')[0].strip()}": line.split(": ", 1)[1]
                for line in describe_space(config.dimensions)
            }
        )
    )


def record_outputs(config: SweepConfig, study: Study, swept: SweepTrials, recorder: Recorder) -> None:
    """Write table and figures, and record them with the best values. Raises UserError: the folder is not writable."""
    for path in _write_outputs(config, study, swept):
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
            {f"trials_{name}": count for name, count in counts.items()} | {f"best_{config.monitor}": value}, len(states)
        )
    )
    chosen = ", ".join(f"{name} {as_text(round_value(value))}" for name, value in best.params.items())
    table = trials_markdown(table_rows(swept.trials, config.monitor, maximize=config.maximize))
    note = f"**Best: trial {swept.best}, {config.monitor} {value:.4f}** ({chosen}), run `{run}`.\n\n{table}"
    recorder.record(Tags({"mlflow.note.content": note[:_NOTE_LENGTH], "flowerml.chosen_run": run}))


def _write_outputs(config: SweepConfig, study: Study, swept: SweepTrials) -> list[Path]:
    title = f"Sweep {config.study}"
    table = table_rows(swept.trials, config.monitor, maximize=config.maximize)
    write_text(config.folder / "trials.csv", trials_csv(table))
    write_text(config.folder / "trials.md", trials_markdown(table))
    figures = {
        "history.png": history_figure(swept.trials, config.monitor, title, maximize=config.maximize),
        "parallel.png": parallel_figure(swept.trials, config.monitor, title, maximize=config.maximize),
    }
    if shares := importances(study):
        figures["importances.png"] = importance_figure(shares, title)
    for name, figure in figures.items():
        write_bytes(config.folder / name, png_bytes(figure))
    return [config.folder / name for name in ("trials.csv", "trials.md", *figures)]
