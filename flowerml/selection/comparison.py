"""Winner against runner-up: the difference, its interval, and which of the two is cheaper."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from flowerml.errors import UserError
from flowerml.selection.candidates import Configuration
from flowerml.selection.intervals import Interval, interval_over_seeds
from flowerml.selection.rank import Level, Standing, require_value
from flowerml.selection.records import CandidateRun, PictureResults


@dataclass(frozen=True)
class Comparison:
    """Winner against runner-up, by config_id. `difference` of their mean accuracies is winner minus runner-up, in 0..1.

    `separated`: whether the interval leaves out zero; None without per-picture results: a few seeds can't show a
    difference, as the variance over pictures is common to all of them. `cheaper` is None where both cost the
    same or it is not known; `cost_known` tells the two apart.
    """

    winner: str
    runner_up: str
    difference: float
    interval: Interval | None
    separated: bool | None
    decided_by: Level
    cheaper: str | None
    cost_known: bool

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "winner": self.winner,
            "runner_up": self.runner_up,
            "difference": self.difference,
            "interval_95": self.interval.as_json() if self.interval else None,
            "separated": self.separated,
            "decided_by": str(self.decided_by),
            "cheaper": self.cheaper,
        }


def compare(standings: Sequence[Standing], over_pictures: Interval | None) -> Comparison:
    """Compare the first two places. `over_pictures` is the paired bootstrap's interval, None without results."""
    winner, runner_up = (standing.configuration for standing in standings[:2])
    level = standings[0].ahead_by
    assert level is not None
    by_place = {run.place: require_value(run.accuracy) for run in runner_up.runs}
    differences = [require_value(run.accuracy) - by_place[run.place] for run in winner.runs]
    costs = costs_of_both(winner, runner_up)
    return Comparison(
        winner=winner.config_id,
        runner_up=runner_up.config_id,
        difference=standings[0].accuracy.mean - standings[1].accuracy.mean,
        interval=over_pictures or interval_over_seeds(differences, floor=-1.0),
        separated=None if over_pictures is None else over_pictures.low > 0,
        decided_by=level,
        cheaper=(
            None
            if costs is None or costs[0] == costs[1]
            else winner.config_id
            if costs[0] < costs[1]
            else runner_up.config_id
        ),
        cost_known=costs is not None,
    )


def costs_of_both(first: Configuration, second: Configuration) -> tuple[float, float] | None:
    """The costs of both in one unit: `cost` where both have it, else `parameters`, else None."""
    a, b = first.runs[0], second.runs[0]
    for costs in ((a.cost, b.cost), (a.parameters, b.parameters)):
        if costs[0] is not None and costs[1] is not None:
            return costs[0], costs[1]
    return None


def picture_matrices(
    configurations: Sequence[Configuration], results: Mapping[str, PictureResults]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The bootstrap's input: by config_id (S, N) bool, seeds (ascending) by pictures (sorted by id).

    With cross-validation a seed's row has the pictures of all its folds.

    `results` are by run_id. Left out is a configuration of which a run has none; and, with a remark, one whose pictures
    are not those of the first configuration that has any, or whose results contradict its best_val_accuracy.
    """
    right: dict[str, np.ndarray] = {}
    remarks: list[str] = []
    orders: dict[tuple[str, ...], tuple[tuple[str, ...], list[int]]] = {}
    pictures: tuple[str, ...] | None = None
    for configuration in configurations:
        runs = sorted(configuration.runs, key=lambda run: run.place)
        if any(run.run_id not in results for run in runs):
            continue
        rows: list[np.ndarray] = []
        own: tuple[str, ...] | None = None
        for of_seed in _by_seed(runs):
            parts = [results[run.run_id] for run in of_seed]
            try:
                result = parts[0] if len(parts) == 1 else PictureResults.join(parts)
            except UserError as error:  # folds of two assignments
                remarks.append(f"{configuration.label}: {error}; its pictures are in no interval")
                break
            if result.ids not in orders:  # all runs of a split mostly list the pictures in one order: sort it once
                places = sorted(range(len(result.ids)), key=result.ids.__getitem__)
                orders[result.ids] = tuple(result.ids[place] for place in places), places
            names, places = orders[result.ids]
            own = own or names
            problem = _results_problem(of_seed, parts, names, pictures or own)
            if problem:
                remarks.append(f"{configuration.label}: {problem}; its pictures are in no interval")
                break
            rows.append(result.right[places])
        else:
            right[configuration.config_id] = np.stack(rows)
            pictures = pictures or own
    return right, remarks


def _by_seed(runs: Sequence[CandidateRun]) -> list[list[CandidateRun]]:
    """Sorted runs, those of a seed together: one, or one per fold."""
    return [list(of_seed) for _, of_seed in groupby(runs, key=lambda run: run.seed)]


def _results_problem(
    runs: Sequence[CandidateRun], parts: Sequence[PictureResults], names: tuple[str, ...], pictures: tuple[str, ...]
) -> str | None:
    """Why the results `parts` of a seed's runs can't be used. `names` are their pictures, `pictures` those expected."""
    if names != pictures:
        who = f"run {runs[0].run_name} was" if len(runs) == 1 else f"the folds of seed {runs[0].seed} were"
        return f"{who} judged on other pictures than the others"
    for run, result in zip(runs, parts, strict=True):
        if abs(result.accuracy - require_value(run.accuracy)) > 1e-6:
            return (
                f"the pictures of run {run.run_name} give accuracy {result.accuracy:.6g}, its best_val_accuracy is"
                f" {run.accuracy:.6g}"
            )
    return None
