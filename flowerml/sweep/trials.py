"""The queue of a study: as many trials as were requested, each point once, however many commands enqueue them.

There are no locks: several commands may enqueue the same trials at once. The database numbers them in order, so all
see the same first ones; those are the requested ones, and the others are ended without being run.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from flowerml.sweep.storage import MAX_RETRIES

FINISHED_STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
# Optuna's own system attributes.
_QUEUED, _ORIGINAL, _DIED = "fixed_params", "failed_trial", "retry_history"
# User attributes of a trial; all its attempts share them, but for `stopped`.
ASKED = "asked"  # total number of trials that the command asked for
SWEEP = "sweep"  # id of the sweep, if this is its first trial
SURPLUS = "surplus"  # one too many: ended without being run
FAILED = "failed"  # why its run failed: it is not retried
STOPPED = "stopped"  # by hand, or by a full disk: the next command resumes it
PRUNED = "pruned"  # why it was pruned
RUN, BEST, FOLDER = "run_id", "best", "folder"


def requested_trials(trials: Sequence[FrozenTrial]) -> dict[int, FrozenTrial]:
    """The requested trials by number, in order; of a trial with several attempts the last one."""
    queued = [trial for trial in trials if _QUEUED in trial.system_attrs and SURPLUS not in trial.user_attrs]
    latest = {original_number(trial): trial for trial in queued}
    count = max((trial.user_attrs.get(ASKED, 0) for trial in queued), default=0)
    found: dict[int, FrozenTrial] = {}
    points: set[tuple[tuple[str, Any], ...]] = set()
    for number in sorted(latest):
        point = _point_key(latest[number].system_attrs[_QUEUED])
        if len(found) < count and point not in points:
            found[number] = latest[number]
            points |= {point} if point else set()
    return found


def original_number(trial: FrozenTrial) -> int:
    """The number of the trial that this one retries, else its own: both are one run, in one folder."""
    return int(trial.system_attrs.get(_ORIGINAL, trial.number))


def enqueue_missing(study: optuna.Study, trials: int, points: list[dict[str, Any]] | None) -> int:
    """Enqueue what is missing to `trials` trials, and return how many that were.

    First those that were stopped or lost; then those of the grid's `points` that the study does not have, in order,
    or, without points, trials whose settings the sampler chooses.
    """
    existing = requested_trials(study.get_trials(deepcopy=False))
    retries = [trial for trial in existing.values() if _is_retryable(trial)]
    for trial in retries:
        study.add_trial(_retry_of(trial))
    missing = max(0, trials - len(existing))
    known = {_point_key(trial.system_attrs[_QUEUED]) for trial in existing.values()}
    fresh = (
        [{}] * missing if points is None else [point for point in points if _point_key(point) not in known][:missing]
    )
    for point in fresh:
        study.enqueue_trial(point, user_attrs={ASKED: trials, SWEEP: uuid.uuid4().hex})
    return len(retries) + len(fresh)


def sweep_id(study: optuna.Study) -> str:
    """The sweep's id, the same in all its commands and on all hosts; a study of the same name elsewhere has another."""
    first = next(trial for trial in study.get_trials(deepcopy=False) if SWEEP in trial.user_attrs)
    return f"{study.study_name}-{first.user_attrs[SWEEP][:8]}"


def is_requested(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Whether a trial that has begun is to be run: workers that race for the last one, or commands that enqueue at
    once, make surplus trials.
    """
    trials = study.get_trials(deepcopy=False)
    number = original_number(trial)
    done = (TrialState.COMPLETE, TrialState.PRUNED)
    return number in requested_trials(trials) and not any(
        original_number(other) == number and other.state in done for other in trials
    )


def count_unfinished(study: optuna.Study) -> tuple[int, int]:
    """How many trials are queued, and how many are running (or their process died, which is not noticed yet)."""
    trials = study.get_trials(deepcopy=False)
    return sum(one.state is TrialState.WAITING for one in trials), sum(
        one.state is TrialState.RUNNING and _QUEUED in one.system_attrs for one in trials
    )


def fail_unrequested(study: optuna.Study) -> None:
    """Fail running trials that were not requested: their process died before it could end them."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _QUEUED not in trial.system_attrs:
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


def _is_retryable(trial: FrozenTrial) -> bool:
    if trial.state is not TrialState.FAIL or FAILED in trial.user_attrs:
        return False
    return STOPPED in trial.user_attrs or len(trial.system_attrs.get(_DIED, ())) < MAX_RETRIES


def _retry_of(trial: FrozenTrial) -> FrozenTrial:
    """The same trial, queued; a stop does not count as an attempt."""
    died = [*trial.system_attrs.get(_DIED, ()), *([] if STOPPED in trial.user_attrs else [trial.number])]
    return optuna.trial.create_trial(
        state=TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={name: value for name, value in trial.user_attrs.items() if name != STOPPED},
        system_attrs={**trial.system_attrs, _ORIGINAL: original_number(trial), _DIED: died},
        intermediate_values=trial.intermediate_values,
    )


def _point_key(params: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(params.items()))
