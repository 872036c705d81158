"""The ranking rule: mean validation accuracy, or mean recall, over the seeds, then the tie-breakers.

In this order: mean best_val_accuracy (in integer hits) or best_val_mean_recall (within 1e-9), mean macro-F1 (within
1e-9), the smaller variance between seeds, the plan's order, config_id.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from flowerml.selection.candidates import Configuration, Gathered, gather
from flowerml.selection.intervals import Interval
from flowerml.selection.records import CandidateRun, PictureResults, Rule, Scope
from flowerml.translation import N_

F1_STEP = 1e-9  # macro-F1 or mean recall closer than this are equal: sums in another order differ by less
# Where hits are not known, accuracies: one hit of a million pictures over ten seeds is 1e-7, sums in another order
# differ by 1e-15.
ACCURACY_STEP = 1e-9
_VARIANCE_STEP = 1e-14

_Item = TypeVar("_Item")
_Criterion = tuple[
    Callable[[_Item], float], float
]  # what is compared, smaller first; differences up to the step are none


class Level(StrEnum):
    """The criterion of the rule by which two configurations differ."""

    ACCURACY = N_("mean accuracy")
    MEAN_RECALL = N_("mean recall")
    MACRO_F1 = N_("mean macro-F1")
    VARIANCE = N_("variance between seeds")
    PLAN = N_("order of the plan")
    CONFIG_ID = N_("configuration id")


def levels_of(rule: Rule) -> tuple[Level, ...]:
    """The criteria of a rule, the first one first."""
    others = {Level.ACCURACY, Level.MEAN_RECALL} - {_FIRST_LEVELS[rule]}
    return tuple(level for level in Level if level not in others)


_FIRST_LEVELS = {Rule.ACCURACY: Level.ACCURACY, Rule.MEAN_RECALL: Level.MEAN_RECALL}


@dataclass(frozen=True)
class Spread:
    """Mean, standard deviation (n - 1; None for one value) and number of some values."""

    mean: float
    deviation: float | None
    n: int

    @staticmethod
    def of(values: Sequence[float]) -> "Spread":
        """Of at least one value; their order does not matter."""
        ordered = sorted(values)
        return Spread(statistics.fmean(ordered), statistics.stdev(ordered) if len(ordered) > 1 else None, len(ordered))


@dataclass(frozen=True)
class Standing:
    """A configuration at its place (1 is the winner).

    `ahead_by` is the criterion that puts it before the next place (None: it is the last). `hits` of `total` are
    summed over the seeds (and folds). `interval` (95 %, of the mean accuracy) and `p_best` are None where they can't be
    computed, `mean_recall` where a run has none.
    """

    place: int
    configuration: Configuration
    accuracy: Spread
    macro_f1: Spread
    hits: int | None
    total: int | None
    ahead_by: Level | None
    interval: Interval | None = None
    p_best: float | None = None
    mean_recall: Spread | None = None


@dataclass(frozen=True)
class Ranking:
    """The runs of a scope, gathered and ranked: what a decision is made from."""

    scope: Scope
    gathered: Gathered
    standings: tuple[Standing, ...]

    def leading_runs(self, places: int) -> list[CandidateRun]:
        """The runs of the first `places` configurations."""
        return [run for standing in self.standings[:places] for run in standing.configuration.runs]


def rank_runs(runs: Sequence[CandidateRun], scope: Scope) -> Ranking:
    """Gather the runs of the scope and rank the eligible configurations. Raises UserError as `gather`."""
    gathered = gather(runs, scope)
    return Ranking(scope, gathered, rank_configurations(gathered.eligible, scope.rule))


def rank_configurations(configurations: Sequence[Configuration], rule: Rule = Rule.ACCURACY) -> tuple[Standing, ...]:
    """Eligible configurations by the rule, the winner first. The order of the input does not matter."""
    runs = [run for configuration in configurations for run in configuration.runs]
    count = _has_comparable_sums(runs)

    def accuracy(configuration: Configuration) -> float:
        runs = configuration.runs
        return (
            -sum(hits_of(run) for run in runs)
            if count
            else -Spread.of([require_value(run.accuracy) for run in runs]).mean
        )

    def recall(configuration: Configuration) -> Spread:
        return Spread.of([require_value(run.mean_recall) for run in configuration.runs])

    def variance(configuration: Configuration) -> float:
        if rule is Rule.MEAN_RECALL:
            return (recall(configuration).deviation or 0.0) ** 2
        if has_comparable_hits(runs):  # an integer: n^2 times the variance, as exact as the hits
            values = [hits_of(run) for run in configuration.runs]
            return len(values) * sum(value * value for value in values) - sum(values) ** 2
        return (Spread.of([require_value(run.accuracy) for run in configuration.runs]).deviation or 0.0) ** 2

    exact = has_comparable_hits(runs) and rule is Rule.ACCURACY
    criteria: dict[Level, _Criterion[Configuration]] = {
        Level.ACCURACY: (accuracy, 0.0 if count else ACCURACY_STEP),
        Level.MEAN_RECALL: (lambda c: -recall(c).mean, F1_STEP),
        Level.MACRO_F1: (lambda c: -Spread.of([require_value(run.macro_f1) for run in c.runs]).mean, F1_STEP),
        Level.VARIANCE: (variance, 0.0 if exact else _VARIANCE_STEP),
        Level.PLAN: (lambda c: c.plan_order, 0.0),
    }
    names = levels_of(rule)
    by_id = sorted(configurations, key=lambda configuration: configuration.config_id)
    sorted_configurations = sort_with_ties(by_id, [criteria[level] for level in names[:-1]])
    return tuple(
        _make_standing(place, configuration, None if place == len(sorted_configurations) else names[depth])
        for place, (configuration, depth) in enumerate(sorted_configurations, start=1)
    )


def best_run(runs: Sequence[CandidateRun], rule: Rule = Rule.ACCURACY) -> CandidateRun:
    """The best of a configuration's runs: most hits (or mean recall), then macro-F1, then the smaller seed and fold."""
    count = has_comparable_hits(runs)
    criteria: list[_Criterion[CandidateRun]] = [
        (lambda run: -hits_of(run) if count else -require_value(run.accuracy), 0.0 if count else ACCURACY_STEP),
        (lambda run: -require_value(run.macro_f1), F1_STEP),
    ]
    if rule is Rule.MEAN_RECALL:
        criteria[0] = (lambda run: -require_value(run.mean_recall), F1_STEP)
    return sort_with_ties(sorted(runs, key=lambda run: run.place), criteria)[0][0]


def sort_with_ties(items: Sequence[_Item], criteria: Sequence[_Criterion[_Item]]) -> list[tuple[_Item, int]]:
    """Sort by the first criterion, ties by the next, and so on; stable where all are equal.

    With each item the number of the criterion that puts it before its successor (len(criteria) where all were equal).
    Values form a tie when each is within a step of its neighbour: so a tie is one for all its members, and the order of
    the input can't matter.
    """
    if not criteria or len(items) < 2:
        return [(item, 0) for item in items]
    value, step = criteria[0]
    ties: list[list[_Item]] = []
    for item in sorted(items, key=value):
        if ties and (value(item) == value(ties[-1][-1]) or value(item) - value(ties[-1][-1]) <= step):
            ties[-1].append(item)
        else:
            ties.append([item])
    placed: list[tuple[_Item, int]] = []
    for tie in ties:
        # Back into the order they came in: values within a step of each other are equal, not sorted.
        inner = sort_with_ties([item for item in items if any(item is member for member in tie)], criteria[1:])
        placed += [(item, depth + 1) for item, depth in inner[:-1]]
        placed.append((inner[-1][0], 0))
    return placed


def has_comparable_hits(runs: Sequence[CandidateRun]) -> bool:
    """Whether all runs have hits of the same number of pictures."""
    return all(run.hits is not None and run.total is not None for run in runs) and len({run.total for run in runs}) <= 1


def _has_comparable_sums(runs: Sequence[CandidateRun]) -> bool:
    """Whether the sums of configurations' hits can be compared: the folds of one assignment differ in size, and all
    configurations have all of them.
    """
    known = all(run.hits is not None and run.total is not None for run in runs)
    return known and len({(run.fold, run.total) for run in runs}) == len({run.fold for run in runs})


def hits_of(run: CandidateRun) -> int:
    """The hits of a run that has them (asserted)."""
    assert run.hits is not None
    return run.hits


def require_value(value: float | None) -> float:
    """A metric of an eligible run, which is never None."""
    assert value is not None
    return value


def add_hits(standing: Standing, results: Mapping[str, PictureResults]) -> Standing:
    """The standing with its hits, counted from per-picture results (by run_id) where its runs do not have them.

    Its place stays: accuracies that are whole numbers of pictures are in the same order as the hits.
    """
    runs = tuple(
        run.with_hits(len(results[run.run_id].ids)) if run.hits is None and run.run_id in results else run
        for run in standing.configuration.runs
    )
    return _make_standing(standing.place, replace(standing.configuration, runs=runs), standing.ahead_by)


def _make_standing(place: int, configuration: Configuration, ahead_by: Level | None) -> Standing:
    runs = configuration.runs
    count = _has_comparable_sums(runs)
    return Standing(
        place=place,
        configuration=configuration,
        accuracy=Spread.of([require_value(run.accuracy) for run in runs]),
        macro_f1=Spread.of([require_value(run.macro_f1) for run in runs]),
        hits=sum(hits_of(run) for run in runs) if count else None,
        total=sum(run.total or 0 for run in runs) if count else None,
        ahead_by=ahead_by,
        mean_recall=(
            None
            if any(run.mean_recall is None for run in runs)
            else Spread.of([require_value(run.mean_recall) for run in runs])
        ),
    )
