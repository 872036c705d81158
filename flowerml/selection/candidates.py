"""Which configurations may be ranked: runs grouped by configuration and seed, and why a configuration is left out.

With cross-validation a configuration needs a run of every fold for every seed; what is said below of a seed then goes
for each fold of it.

The policy, for the runs of one configuration and one asked seed: **the newest one counts**. If it is FINISHED with
finite figures, older ones do not matter, and a remark names them (a failed try that was repeated, an earlier FINISHED
run). If the newest is anything else, the configuration is not eligible, even where an older run of the seed is
FINISHED: a later run that failed, or is still going on, says that the last word on this seed is not spoken. A run of a
seed that was not asked for neither counts nor harms, and no more does a trial that a sweep ended before its last epoch.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from flowerml.errors import UserError
from flowerml.selection.records import CandidateRun, Rule, Scope


@dataclass(frozen=True)
class Configuration:
    """An eligible configuration: one FINISHED run per asked seed (and fold), in the order in which seeds were asked."""

    config_id: str
    runs: tuple[CandidateRun, ...]

    @property
    def label(self) -> str:
        """How it is called in sentences."""
        return _config_label(self.runs[0])

    @property
    def plan_order(self) -> float:
        """Its first place in the plan; infinite where no plan names it."""
        return min((run.plan_order for run in self.runs if run.plan_order is not None), default=math.inf)


@dataclass(frozen=True)
class Ineligible:
    """A configuration that is not ranked, and why, in words."""

    config_id: str
    label: str
    reasons: tuple[str, ...]
    runs: tuple[CandidateRun, ...]


@dataclass(frozen=True)
class Gathered:
    """The configurations of one data and split digest, each list in the order of config_id."""

    eligible: tuple[Configuration, ...]
    ineligible: tuple[Ineligible, ...]
    remarks: tuple[str, ...]
    data_digest: str
    split_digest: str


def gather(runs: Sequence[CandidateRun], scope: Scope) -> Gathered:
    """Group the runs that `scope` asks for.

    Raises:
        UserError: no run is in the scope, or several data and split digests are and none is named.
    """
    held = [run for run in runs if scope.includes(run)]
    asked = [run for run in held if not run.pruned]
    pruned = len(held) - len(asked)
    data_digest, split_digest = _one_digest(asked, scope)
    asked = [run for run in asked if (run.data_digest, run.split_digest) == (data_digest, split_digest)]
    classes = scope.classes if scope.classes is not None else _most_frequent_classes(asked)
    eligible: list[Configuration] = []
    ineligible: list[Ineligible] = []
    remarks = [f"{pruned} trial{'s' * (pruned > 1)} ended early by a sweep: not ranked"] if pruned else []
    for config_id in sorted({run.config_id for run in asked}):
        own = sorted((run for run in asked if run.config_id == config_id), key=_sort_key)
        counted, reasons, said = _judge_configuration(own, scope, classes)
        remarks += said
        if reasons:
            ineligible.append(Ineligible(config_id, _config_label(own[-1]), tuple(reasons), tuple(own)))
        else:
            eligible.append(Configuration(config_id, tuple(counted)))
    return Gathered(tuple(eligible), tuple(ineligible), tuple(remarks), data_digest, split_digest)


def _judge_configuration(
    runs: Sequence[CandidateRun], scope: Scope, classes: int
) -> tuple[list[CandidateRun], list[str], list[str]]:
    """The run that counts for each seed, reasons against the configuration, remarks. `runs`: of one configuration,
    oldest first.
    """
    by_place: dict[tuple[int, int], list[CandidateRun]] = defaultdict(list)
    for run in runs:
        by_place[run.place].append(run)
    folds = max((run.folds or 0 for run in runs), default=0)
    asked = [(seed, fold) for seed in scope.seeds for fold in (range(1, folds + 1) if folds else (0,))]
    reasons: list[str] = []
    remarks: list[str] = []
    missing = [place for place in asked if place not in by_place]
    if missing:
        reasons.append(_lacks(missing, folds))
    counted = [by_place[place][-1] for place in asked if place in by_place]
    for newest in counted:
        *older, _ = by_place[newest.place]
        problem = _run_problem(newest, scope.rule)
        if problem is None:
            remarks += [_superseded(run, newest, scope.rule) for run in older]
            continue
        finished = next((run for run in reversed(older) if _run_problem(run, scope.rule) is None), None)
        newer = f", and is newer than the FINISHED {_name_with_id(finished)}: repeat or delete it" if finished else ""
        reasons.append(f"{_place_in_words(newest)}: run {_name_with_id(newest)} {problem}{newer}")
    found = sorted({run.classes for run in counted if run.classes != classes})
    if found:
        reasons.append(f"has {' and '.join(map(str, found))} classes, not {classes}")
    return counted, reasons, remarks


def _lacks(missing: Sequence[tuple[int, int]], folds: int) -> str:
    """Which seeds, or folds of them, a configuration has no run of."""
    if not folds:
        return f"lacks seed {', '.join(str(seed) for seed, _ in missing)}"
    by_seed: dict[int, list[int]] = defaultdict(list)
    for seed, fold in missing:
        by_seed[seed].append(fold)
    parts = [
        f"seed {seed}" if len(held) == folds else f"fold {', '.join(map(str, held))} of seed {seed}"
        for seed, held in by_seed.items()
    ]
    return f"lacks {' and '.join(parts)}"


def _place_in_words(run: CandidateRun) -> str:
    return f"seed {run.seed}" if run.fold is None else f"seed {run.seed}, fold {run.fold}"


def _run_problem(run: CandidateRun, rule: Rule) -> str | None:
    """Why a run can't count, in words."""
    if run.status != "FINISHED":
        return f"is {run.status}"
    figures = [("best_val_accuracy", run.accuracy), ("best_val_macro_f1", run.macro_f1)]
    if rule is Rule.MEAN_RECALL:  # relations' runs of earlier versions have none
        figures.append(("best_val_mean_recall", run.mean_recall))
    for name, value in figures:
        if value is None:
            return f"has no {name}"
        if not 0 <= value <= 1:  # also true of NaN
            return f"has {name} {value}"
    return None


def _superseded(older: CandidateRun, newest: CandidateRun, rule: Rule) -> str:
    who = f"{_config_label(newest)}, {_place_in_words(newest)}"
    problem = _run_problem(older, rule)
    if problem is not None:
        return f"{who}: run {_name_with_id(older)} {problem} and was repeated: {_name_with_id(newest)} counts"
    where = (
        ""
        if older.campaign == newest.campaign
        else f", of another campaign ({older.campaign or 'none'}, {newest.campaign or 'none'})"
    )
    return f"{who}: two FINISHED runs{where}: the newest, {_name_with_id(newest)}, counts, not {_name_with_id(older)}"


def _one_digest(runs: Sequence[CandidateRun], scope: Scope) -> tuple[str, str]:
    """The one pair of data and split digest. A pair of which nothing is FINISHED (a first try on a wrong folder) is no
    rival of one.
    """
    kinds = " or ".join(scope.kinds)
    if not runs:
        of = "".join(
            f" of {what} {value}" for what, value in (("family", scope.family), ("campaign", scope.campaign)) if value
        )
        raise UserError(
            f"no run of kind {kinds}{of} to choose from: train some first, or ask for another family or campaign"
        )
    named = [run for run in runs if scope.has_named_digests(run)]
    if not named:
        raise unknown_digests(runs, scope)
    pairs = {(run.data_digest, run.split_digest) for run in named if run.status == "FINISHED"}
    pairs = pairs or {(run.data_digest, run.split_digest) for run in named}
    if len(pairs) > 1:
        raise several_digests([run for run in named if (run.data_digest, run.split_digest) in pairs])
    return pairs.pop()


def several_digests(
    runs: Sequence[CandidateRun], *, counted: int | None = None, listed: int | None = None
) -> UserError:
    """What to say where runs are of several pairs of digests and none is named; each pair is an entry.

    Who fetched `counted` + 1 runs of a pair, or `listed` + 1 pairs, has stopped there: the list says that there are
    more.
    """
    pairs = len({(run.data_digest, run.split_digest) for run in runs})
    number = f"more than {listed}" if listed is not None and pairs > listed else str(pairs)
    return UserError(
        f"the runs are of {number} data and split digests, and only runs of one can be compared: name one with"
        " --split-digest (or --data-digest)",
        _digest_list(runs, counted, listed),
    )


def unknown_digests(
    runs: Sequence[CandidateRun], scope: Scope, *, counted: int | None = None, listed: int | None = None
) -> UserError:
    """What to say where the digests that were named are none of those there are; entries and limits as for
    `several_digests`.
    """
    return UserError(
        f"no run of kind {' or '.join(scope.kinds)} has the digests named; there are:",
        _digest_list(runs, counted, listed),
    )


def _digest_list(runs: Sequence[CandidateRun], counted: int | None, listed: int | None) -> list[str]:
    counts = Counter((run.data_digest, run.split_digest) for run in runs)
    finished = Counter((run.data_digest, run.split_digest) for run in runs if run.status == "FINISHED")

    def words(pair: tuple[str, str]) -> str:
        count = counts[pair]
        if counted is not None and count > counted:
            return f"more than {counted} runs"
        return f"{count} run{'s' * (count > 1)}, {finished[pair]} FINISHED"

    pairs = [pair for pair, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    shown = [f"data {pair[0][:8]} split {pair[1][:8]}: {words(pair)}" for pair in pairs[:listed]]
    return [*shown, *(["and others"] if len(pairs) > len(shown) else [])]


def _most_frequent_classes(runs: Sequence[CandidateRun]) -> int:
    """The number of classes that most runs have; UserError where two numbers are equally frequent."""
    counts = Counter(run.classes for run in runs).most_common()
    if len(counts) > 1 and counts[0][1] == counts[1][1]:
        raise UserError(f"as many runs have {counts[0][0]} classes as {counts[1][0]}: name the number that is meant")
    return counts[0][0]


def _config_label(run: CandidateRun) -> str:
    return f"{run.model or run.family} {run.config_id[:8]}"


def _name_with_id(run: CandidateRun) -> str:
    return f"{run.run_name} ({run.run_id[:8]})"


def _sort_key(run: CandidateRun) -> tuple[int, str]:
    return run.started, run.run_id
