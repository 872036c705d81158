"""Which trials of a study count, and which are still to be done: as many as were asked for, each point once, whoever
asks, however often.

Nothing here locks: several commands may queue the same trials at once. Numbers are given by the database, one after
another, so everybody sees the same first ones; those are what was asked for, and the others are ended without being
run.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from flowerml.sweep.storage import RETRIES

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
# Optuna's own marks.
_QUEUED, _ORIGINAL, _DIED = "fixed_params", "failed_trial", "retry_history"
# What is noted with a trial. Its tries share them, but for `stopped`.
ASKED = "asked"  # how many trials the command that queued it asked for, in all
SWEEP = "sweep"  # a name for the sweep, if this is its first trial
SURPLUS = "surplus"  # one too many: ended without being run
FAILED = "failed"  # why its run failed: it is not tried again
STOPPED = "stopped"  # somebody stopped it: whoever starts the sweep again goes on with it
PRUNED = "pruned"  # why it was ended early
RUN, BEST, FOLDER = "run_id", "best", "folder"


def counted(trials: Sequence[FrozenTrial]) -> dict[int, FrozenTrial]:
    """The trials that were asked for, by their number, in its order; of one that was tried several times the last try."""
    queued = [trial for trial in trials if _QUEUED in trial.system_attrs and SURPLUS not in trial.user_attrs]
    newest = {original(trial): trial for trial in queued}
    asked = max((trial.user_attrs.get(ASKED, 0) for trial in queued), default=0)
    found: dict[int, FrozenTrial] = {}
    points: set[tuple[tuple[str, Any], ...]] = set()
    for number in sorted(newest):
        point = _point(newest[number].system_attrs[_QUEUED])
        if len(found) < asked and point not in points:
            found[number] = newest[number]
            points |= {point} if point else set()
    return found


def original(trial: FrozenTrial) -> int:
    """The number of the trial that this one tries again, else its own: both are one run, in one folder."""
    return int(trial.system_attrs.get(_ORIGINAL, trial.number))


def queue(study: optuna.Study, trials: int, points: list[dict[str, Any]] | None) -> int:
    """Queue what is missing to `trials` trials: those that were stopped, or lost; then of the grid's `points` those
    that the study does not have yet, in their order; without points, trials whose settings the sampler will choose.
    Returns how many.
    """
    there = study.get_trials(deepcopy=False)
    standing = counted(there)
    again = [trial for trial in standing.values() if _to_be_tried_again(trial)]
    for trial in again:
        study.add_trial(_another_try(trial))
    missing = max(0, trials - len(standing))
    known = {_point(trial.system_attrs[_QUEUED]) for trial in standing.values()}
    fresh = [{}] * missing if points is None else [point for point in points if _point(point) not in known][:missing]
    for point in fresh:
        study.enqueue_trial(point, user_attrs={ASKED: trials, SWEEP: uuid.uuid4().hex})
    return len(again) + len(fresh)


def name_of(study: optuna.Study) -> str:
    """The name that the sweep has in all its commands and on all its hosts; a study of the same name elsewhere has
    another one.
    """
    return f"{study.study_name}-{study.get_trials(deepcopy=False)[0].user_attrs[SWEEP][:8]}"


def is_wanted(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Whether a trial that has begun is to be run: two who reach for the last one make one too many, and so do two who
    queue at once, or who queue the same one again.
    """
    trials = study.get_trials(deepcopy=False)
    number = original(trial)
    done = (TrialState.COMPLETE, TrialState.PRUNED)
    return number in counted(trials) and not any(original(other) == number and other.state in done for other in trials)


def open_ends(study: optuna.Study) -> tuple[int, int]:
    """How many trials are queued, and how many somebody works on, or died of without having been noticed yet."""
    trials = study.get_trials(deepcopy=False)
    return sum(one.state is TrialState.WAITING for one in trials), sum(
        one.state is TrialState.RUNNING and _QUEUED in one.system_attrs for one in trials
    )


def end_unasked(study: optuna.Study) -> None:
    """End what nobody asked for and whose process died before it could say so."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _QUEUED not in trial.system_attrs:
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


def _to_be_tried_again(trial: FrozenTrial) -> bool:
    if trial.state is not TrialState.FAIL or FAILED in trial.user_attrs:
        return False
    return STOPPED in trial.user_attrs or len(trial.system_attrs.get(_DIED, ())) < RETRIES


def _another_try(trial: FrozenTrial) -> FrozenTrial:
    """The same trial, queued; that somebody stopped it is not held against it."""
    died = [*trial.system_attrs.get(_DIED, ()), *([] if STOPPED in trial.user_attrs else [trial.number])]
    return optuna.trial.create_trial(
        state=TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={name: value for name, value in trial.user_attrs.items() if name != STOPPED},
        system_attrs={**trial.system_attrs, _ORIGINAL: original(trial), _DIED: died},
        intermediate_values=trial.intermediate_values,
    )


def _point(params: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(params.items()))
