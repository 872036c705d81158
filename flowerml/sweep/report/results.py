"""Table and figures of a sweep: optimization history, hyperparameter importances, parallel coordinates."""

import csv
import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.trial import FrozenTrial, TrialState

from flowerml.reporting.figures.drawing import BLUE, FAINT, MUTED, ORANGE, STYLE, header
from flowerml.runs.lifecycle.run_owner import run_id_of
from flowerml.settings.serialization import as_text
from flowerml.sweep.study import round_value
from flowerml.sweep.trials import BEST, FAILED, FOLDER, RUN

_WIDTH = 9.5
_LABEL_BOX = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
_MAX_LINES = 300  # in parallel coordinates; the table has all trials


Trials = Mapping[int, FrozenTrial]  # by number: the last attempt of each


def columns(trials: Trials) -> list[str]:
    """The names of the searched settings, in order."""
    return list(dict.fromkeys(name for trial in trials.values() for name in trial.params))


def table_rows(trials: Trials, monitor: str, *, maximize: bool) -> list[dict[str, str]]:
    """A row per trial, the best first, those without a value last; the column `reason` only where a run failed."""
    worst = -np.inf if maximize else np.inf

    def rank(number: int) -> tuple[float, int]:
        value = trials[number].user_attrs.get(BEST, worst)
        return (-value if maximize else value, number)

    table = [_trial_row(number, trials[number], monitor, columns(trials)) for number in sorted(trials, key=rank)]
    if any(row["reason"] for row in table):
        return table
    return [{name: text for name, text in row.items() if name != "reason"} for row in table]


def _trial_row(number: int, trial: FrozenTrial, monitor: str, names: Sequence[str]) -> dict[str, str]:
    status = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}.get(
        trial.state.name, trial.state.name.lower()
    )
    return {
        "trial": str(number),
        "status": status,
        f"best {monitor}": f"{trial.user_attrs[BEST]:.4f}" if BEST in trial.user_attrs else "",
        "epochs": str(len(trial.intermediate_values)),
        **{name: as_text(round_value(trial.params[name])) if name in trial.params else "" for name in names},
        "run": trial.user_attrs.get(RUN)
        or (run_id_of(Path(trial.user_attrs[FOLDER])) if FOLDER in trial.user_attrs else ""),
        "reason": str(trial.user_attrs.get(FAILED, "")),
    }


def trials_csv(table: Sequence[dict[str, str]]) -> str:
    """The table as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()


def trials_markdown(table: Sequence[dict[str, str]]) -> str:
    """The table as Markdown."""
    names = list(table[0])
    lines = [names, ["---"] * len(names), *([(row[name] or "-").replace("|", "/") for name in names] for row in table)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def history_figure(trials: Trials, monitor: str, title: str, *, maximize: bool) -> Figure:
    """Every trial's best value as a dot, and the best so far as a line."""
    known = {number: trial for number, trial in trials.items() if BEST in trial.user_attrs}
    with matplotlib.rc_context(STYLE):
        figure = Figure((_WIDTH, 4.6))
        axes = figure.add_axes((0.09, 0.13, 0.87, 0.68))
        for state, colour, label in ((TrialState.COMPLETE, BLUE, "complete"), (TrialState.PRUNED, MUTED, "pruned")):
            own = {number: trial.user_attrs[BEST] for number, trial in known.items() if trial.state is state}
            axes.plot(
                list(own),
                list(own.values()),
                linestyle="",
                marker="o",
                markersize=6,
                color=colour,
                label=f"{label} ({len(own)})",
            )
        completed = {
            number: trial.user_attrs[BEST] for number, trial in known.items() if trial.state is TrialState.COMPLETE
        }
        best = (np.maximum if maximize else np.minimum).accumulate(list(completed.values()))
        axes.step(list(completed), best, where="post", color=ORANGE, label="best so far")
        axes.set(xlabel="trial", ylabel=monitor)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color=FAINT)
        axes.legend(loc="best", frameon=False)
        header(figure, title, f"{len(trials)} trials, {monitor} of each one's best epoch")
    return figure


def importances(study: optuna.Study) -> dict[str, float]:
    """How much of the differences between trials each setting explains (fANOVA; Hutter et al. 2014, "An Efficient
    Approach for Assessing Hyperparameter Importance"); empty where too few trials, or no differences, are there.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
            return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
    except (ValueError, RuntimeError):
        return {}


def importance_figure(shares: dict[str, float], title: str) -> Figure:
    """A bar per setting, the most important on top."""
    names = sorted(shares, key=lambda name: shares[name])
    with matplotlib.rc_context(STYLE):
        figure = Figure((_WIDTH, 1.7 + 0.42 * len(names)))
        height = figure.get_size_inches()[1]
        axes = figure.add_axes((0.24, 0.6 / height, 0.68, (height - 1.6) / height))
        axes.barh(names, [shares[name] for name in names], color=BLUE, height=0.6)
        for row, name in enumerate(names):
            axes.text(shares[name] + 0.01, row, f"{shares[name]:.2f}", va="center", color=MUTED)
        axes.set(xlim=(0, 1.08), xlabel="share of the differences between trials that the setting explains (fANOVA)")
        axes.spines[["top", "right"]].set_visible(False)
        header(figure, title, "How much each setting mattered, within the space that was searched")
    return figure


def parallel_figure(trials: Trials, monitor: str, title: str, *, maximize: bool) -> Figure:
    """A line per trial across its settings to its value; the better, the darker."""
    known = [trial for trial in trials.values() if BEST in trial.user_attrs and trial.params][-_MAX_LINES:]
    names = columns(trials)
    values = np.array([trial.user_attrs[BEST] for trial in known])
    order = np.argsort(values if maximize else -values, kind="stable")
    with matplotlib.rc_context(STYLE):
        figure = Figure((_WIDTH, 5.0))
        axes = figure.add_axes((0.07, 0.2, 0.86, 0.6))
        scales = [_Scale([trial.params.get(name) for trial in known]) for name in names]
        last = _Scale([float(value) for value in values])
        for rank, index in enumerate(order):
            heights = [scale.position(known[index].params.get(name)) for name, scale in zip(names, scales, strict=True)]
            shade = 0.12 + 0.88 * (rank + 1) / len(order)
            best = rank == len(order) - 1
            axes.plot(
                [*heights, last.position(float(values[index]))],
                color=ORANGE if best else BLUE,
                alpha=shade,
                lw=2.2 if best else 1.1,
            )
        for column, scale in enumerate([*scales, last]):
            _draw_axis(axes, column, scale)
        axes.set_xticks(range(len(names) + 1), [*names, monitor], rotation=20, ha="right")
        axes.set(ylim=(-0.05, 1.05), yticks=[])
        axes.spines[:].set_visible(False)
        header(figure, title, f"{len(known)} trials; the better, the darker; the best in orange")
    return figure


class _Scale:
    """Maps a setting's values to 0..1: numbers linearly, or logarithmically over a wide range, others by rank."""

    def __init__(self, values: Sequence[Any]) -> None:
        present = sorted({value for value in values if value is not None}, key=lambda value: (str(type(value)), value))
        self._values = present
        numbers = [value for value in present if isinstance(value, int | float) and not isinstance(value, bool)]
        self._numeric = bool(present) and len(numbers) == len(present)
        self._log = self._numeric and present[0] > 0 and present[-1] / present[0] > 8

    def position(self, value: Any) -> float:  # noqa: ANN401 - a setting's value
        """0 to 1; NaN where the trial has no value."""
        if value is None:
            return float("nan")
        if len(self._values) < 2:
            return 0.5
        if not self._numeric:
            return self._values.index(value) / (len(self._values) - 1)
        low, high, own = (np.log(x) if self._log else x for x in (self._values[0], self._values[-1], value))
        return float((own - low) / (high - low))

    def ticks(self) -> list[tuple[float, str]]:
        """The ends, or all of at most four values, as (position, label)."""
        shown = self._values if len(self._values) <= 4 else [self._values[0], self._values[-1]]
        return [(self.position(value), as_text(_shorten(value))) for value in shown]


def _draw_axis(axes: Axes, column: int, scale: _Scale) -> None:
    axes.axvline(column, color=FAINT, zorder=0)
    for position, text in scale.ticks():
        axes.text(column + 0.03, position, text, fontsize=8, color=MUTED, va="center", bbox=_LABEL_BOX)


def _shorten(value: Any) -> Any:  # noqa: ANN401 - a setting's value
    return float(f"{value:.4g}") if isinstance(value, float) else value
