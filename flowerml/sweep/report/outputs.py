"""Outputs of a sweep, in its folder and its MLflow run: a table, figures, and the best values."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure
from optuna import Study
from optuna.trial import TrialState

from flowerml.events import Artifact, Metrics, Params, Recorder, Tags
from flowerml.files import write_bytes, write_text
from flowerml.optional_files import try_to_make, write_optional
from flowerml.reporting.figures.drawing import png_bytes
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
from flowerml.training.checkpoints.shared_backbone import BACKBONES

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
    """Write table and figures, and record them with the best values. What can't be made is named in a warning."""
    # The best.pth of linear probes refer to it.
    for path in [*_write_outputs(config, study, swept), *sorted(config.folder.glob(BACKBONES))]:
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
    shares = try_to_make("the importances", lambda: importances(study))
    texts = {"trials.csv": trials_csv(table), "trials.md": trials_markdown(table)}
    figures: dict[str, Callable[[], Figure]] = {
        "history.png": lambda: history_figure(swept.trials, config.monitor, title, maximize=config.maximize),
        "parallel.png": lambda: parallel_figure(swept.trials, config.monitor, title, maximize=config.maximize),
    }
    if shares:
        figures["importances.png"] = lambda: importance_figure(shares, title)
    writers: dict[str, Callable[[Path], None]] = {
        **{name: partial(write_text, text=text) for name, text in texts.items()},
        **{name: partial(_write_figure, draw) for name, draw in figures.items()},
    }
    return [config.folder / name for name, write in writers.items() if write_optional(config.folder / name, write)]


def _write_figure(draw: Callable[[], Figure], path: Path) -> None:
    write_bytes(path, png_bytes(draw()))
