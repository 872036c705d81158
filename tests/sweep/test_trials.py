"""The queue of trials: as many as were asked for, each point once, whoever asks again; what was stopped or died is
tried again.
"""

import errno
import threading
import time

import optuna
import pytest
from optuna.trial import TrialState

from flowerml.errors import RunFailed, UserError
from flowerml.settings import Family
from flowerml.sweep import worker
from flowerml.sweep.config import SweepConfig
from flowerml.sweep.space import grid_dimensions, range_dimensions, shuffled_grid
from flowerml.sweep.storage import MAX_RETRIES
from flowerml.sweep.study import open_study, suggest
from flowerml.sweep.trials import (
    ASKED,
    FAILED,
    STOPPED,
    SURPLUS,
    count_unfinished,
    enqueue_missing,
    fail_unrequested,
    is_requested,
    original_number,
    requested_trials,
    sweep_id,
)

POINTS, GRID, RANGES = (
    shuffled_grid(Family.CNN, {}, 11),
    grid_dimensions(Family.CNN, {}),
    range_dimensions(Family.CNN, {}),
)


@pytest.fixture
def opened(tmp_path):
    def opened(heartbeat_s=10):
        options = {"maximize": True, "pruner": "none", "epochs": 3, "seed": 11, "heartbeat_s": heartbeat_s}
        return open_study(f"sqlite:///{tmp_path / 'sweeps.db'}", "s", {}, **options)

    return opened


class SurplusTrial(Exception):
    """As a worker's."""


def work_off(study, dimensions, value=0.5):
    """What a worker does, without the training; returns what was chosen, in order."""
    seen = []

    def objective(trial):
        if not is_requested(study, study.trials[trial.number]):
            trial.set_user_attr(SURPLUS, True)
            raise SurplusTrial
        seen.append(suggest(trial, dimensions))
        return value

    while count_unfinished(study)[0]:
        study.optimize(objective, n_trials=1, catch=(SurplusTrial,))
    return seen


def fail(study, **attrs):
    """The next trial of the queue begins and does not come to its end."""

    def objective(trial):
        suggest(trial, RANGES)
        for name, value in attrs.items():
            trial.set_user_attr(name, value)
        raise RuntimeError

    study.optimize(objective, n_trials=1, catch=(RuntimeError,))


def test_each_point_is_evaluated_once_however_often_it_is_asked_for(opened):
    study = opened()
    assert enqueue_missing(study, 3, POINTS) == 3
    assert work_off(study, GRID) == POINTS[:3]
    again = opened()
    assert enqueue_missing(again, 3, POINTS) == 0
    assert enqueue_missing(again, 5, POINTS) == 2
    assert work_off(again, GRID) == POINTS[3:5]
    assert enqueue_missing(opened(), 64, POINTS) == 59


def test_a_sampled_study_has_as_many_trials_as_asked_for(opened):
    study = opened()
    assert enqueue_missing(study, 4, None) == 4
    assert enqueue_missing(opened(), 4, None) == 0
    assert len(work_off(study, RANGES)) == 4
    assert enqueue_missing(study, 6, None) == 2
    assert (
        len({tuple(sorted(trial.params.items())) for trial in study.trials if trial.state is TrialState.COMPLETE}) == 4
    )


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [POINTS, None])
def test_commands_that_queue_at_the_same_moment_make_no_trial_too_many(opened, wanted):
    """Each sees an empty study and queues all: only the first ones count, in the eyes of everybody."""
    studies = [opened() for _ in range(3)]
    together = threading.Barrier(3)
    threads = [
        threading.Thread(target=lambda study=study: (together.wait(), enqueue_missing(study, 4, wanted)))
        for study in studies
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    study = opened()
    if len(study.trials) == 4:  # they came one after another after all
        for point in wanted[:4] if wanted else [{}] * 4:
            study.enqueue_trial(point, user_attrs={ASKED: 4, "sweep": "other"})
    assert len({sweep_id(one) for one in studies}) == 1
    chosen = work_off(study, GRID if wanted else RANGES)
    assert len(chosen) == 4
    assert not wanted or chosen == POINTS[:4]
    assert len(requested_trials(study.trials)) == 4
    assert all(
        trial.state is TrialState.FAIL for trial in study.trials if trial.number not in requested_trials(study.trials)
    )
    assert enqueue_missing(study, 6, wanted) == 2, "those that were too many do not stand in for new ones"
    assert len(work_off(study, GRID if wanted else RANGES)) == 2


def test_a_trial_too_many_does_not_spoil_the_space_that_is_sampled_together(opened):
    """Optuna samples together what all earlier trials had: one without anything would leave nothing."""
    study = opened()
    enqueue_missing(study, 12, None)
    work_off(study, RANGES)
    study.enqueue_trial({}, user_attrs={ASKED: 12})
    assert work_off(study, RANGES) == []
    assert len(study.sampler.infer_relative_search_space(study, study.trials[-1])) == len(RANGES)


def test_a_dead_trial_is_tried_again_a_few_times_as_the_same_run(opened):
    study = opened(heartbeat_s=1)
    enqueue_missing(study, 1, None)
    again = optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=MAX_RETRIES)
    for _ in range(MAX_RETRIES + 1):
        fail(study)
        again(study, study.trials[-1])
    assert count_unfinished(study) == (0, 0)
    assert len({tuple(trial.params.items()) for trial in study.trials}) == 1
    assert [original_number(trial) for trial in study.trials] == [0] * (MAX_RETRIES + 1)
    assert list(requested_trials(study.trials)) == [0]
    assert requested_trials(study.trials)[0].number == MAX_RETRIES
    assert enqueue_missing(study, 1, None) == 0, "it had its chances"


def test_what_was_stopped_by_hand_goes_on_as_often_as_it_is_stopped(opened):
    study = opened()
    enqueue_missing(study, 1, None)
    for _ in range(MAX_RETRIES + 3):
        fail(study, **{STOPPED: True})
        assert enqueue_missing(study, 1, None) == 1
        assert STOPPED not in study.trials[-1].user_attrs
    assert len(work_off(study, RANGES)) == 1
    assert len({tuple(trial.params.items()) for trial in study.trials}) == 1


def test_a_trial_that_was_given_up_before_anybody_queued_it_again_is_not_lost(opened):
    study = opened()
    enqueue_missing(study, 1, None)
    fail(study)
    assert enqueue_missing(study, 1, None) == 1
    assert len(work_off(study, RANGES)) == 1


def test_a_run_that_failed_by_itself_is_not_tried_again(opened):
    study = opened()
    enqueue_missing(study, 1, None)
    fail(study, **{FAILED: "the loss is not finite"})
    assert enqueue_missing(study, 1, None) == 0


def test_a_trial_that_was_queued_again_twice_is_run_once(opened):
    study = opened()
    enqueue_missing(study, 1, None)
    fail(study, **{STOPPED: True})
    enqueue_missing(study, 1, None)
    study.add_trial(study.trials[-1])
    assert len(work_off(study, RANGES)) == 1
    assert requested_trials(study.trials)[0].state is TrialState.COMPLETE


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_process_that_dies_between_taking_a_trial_and_its_first_sign_of_life_does_not_keep_it(opened):
    study = opened(heartbeat_s=1)
    enqueue_missing(study, 1, None)
    study.ask()  # what `optimize` does first; then it would begin to give signs
    assert count_unfinished(study) == (0, 1)
    until = time.monotonic() + 30
    while count_unfinished(study) == (0, 1) and time.monotonic() < until:
        time.sleep(0.5)
        optuna.storages.fail_stale_trials(study)
    assert count_unfinished(study) == (1, 0)


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_what_nobody_asked_for_and_nobody_ended_is_ended(opened):
    study = opened()
    enqueue_missing(study, 1, None)
    work_off(study, RANGES)
    study.ask()
    assert count_unfinished(study) == (0, 0), "nobody waits for it"
    fail_unrequested(study)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.FAIL]
    assert len(requested_trials(study.trials)) == 1


def test_a_full_disk_stops_the_worker_and_the_trial_is_tried_again(tmp_path, opened, monkeypatch):
    """It is not the fault of a configuration: the queue is not used up by it."""
    fixed = {"model": "timm:test_convnext2", "weights": "none", "epochs": 9, "train_dir": str(tmp_path)}
    storage = f"sqlite:///{tmp_path / 'sweeps.db'}"
    config = SweepConfig(storage, "s", {}, True, "none", 3, 11, 10, fixed, GRID, tmp_path / "s", "val_accuracy")
    study = opened()
    enqueue_missing(study, 3, POINTS)

    def fill_the_disk(*_args):
        try:
            raise UserError("checkpoint x: No space left on device") from OSError(errno.ENOSPC, "No space left")
        except UserError as error:
            raise RunFailed(*error.args) from error

    monkeypatch.setattr(worker, "_train_run", fill_the_disk)
    with pytest.raises(UserError, match="checkpoint x: No space left on device"):
        worker.run_trials(config)
    states = [trial.state for trial in study.get_trials()]
    assert states == [TrialState.FAIL, TrialState.WAITING, TrialState.WAITING]
    assert enqueue_missing(study, 3, POINTS) == 1, "the one that was stopped"
    assert count_unfinished(study) == (3, 0)
