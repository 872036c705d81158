"""The queue of trials: as many as were asked for, each point once, whoever asks again; a dead one is tried again a few times."""

import optuna
import pytest
from optuna.trial import TrialState

from flowerml.errors import UserError
from flowerml.settings import Family
from flowerml.sweep.space import choices, points, ranges
from flowerml.sweep.study import RETRIES, last_tries, open_ends, open_study, original, queue, suggest, was_queued

ABOUT = {"model": "convnextv2_atto", "given": "{}"}


@pytest.fixture
def opened(tmp_path):
    def opened(worker=0, **changes):
        options = {"maximize": True, "pruner": "none", "epochs": 3, "seed": 11, **changes}
        return open_study(f"sqlite:///{tmp_path / 'sweeps.db'}", "s", ABOUT, worker=worker, **options)

    return opened


def work_off(study, dimensions, value=0.5):
    seen = []

    def objective(trial):
        seen.append(suggest(trial, dimensions))
        return value

    while open_ends(study)[0]:
        study.optimize(objective, n_trials=1)
    return seen


def test_each_point_is_evaluated_once_however_often_it_is_asked_for(opened):
    wanted, dimensions = points(Family.CNN, {}, 11), choices(Family.CNN, {})
    study = opened()
    assert queue(study, 3, wanted) == 3
    assert work_off(study, dimensions) == wanted[:3]
    again = opened()
    assert queue(again, 3, wanted) == 0
    assert queue(again, 5, wanted) == 2
    assert work_off(again, dimensions) == wanted[3:5]
    assert queue(opened(), 64, wanted) == 59


def test_a_sampled_study_has_as_many_trials_as_asked_for(opened):
    study, dimensions = opened(), ranges(Family.VIT, {})
    assert queue(study, 4, None) == 4
    assert queue(opened(), 4, None) == 0
    assert len(work_off(study, dimensions)) == 4
    assert queue(study, 6, None) == 2
    assert len({tuple(sorted(trial.params.items())) for trial in study.trials if trial.state is TrialState.COMPLETE}) == 4


def test_workers_with_one_seed_draw_other_points(opened):
    dimensions, drawn = ranges(Family.CNN, {}), []
    queue(opened(), 3, None)
    studies = [opened(worker) for worker in (1, 2)]
    for study in studies:
        study.optimize(lambda trial: drawn.append(suggest(trial, dimensions)) or 0.1, n_trials=1)
    queue(opened(), 3, None)
    opened(1).optimize(lambda trial: drawn.append(suggest(trial, dimensions)) or 0.1, n_trials=1)
    assert drawn[0] != drawn[1] != drawn[2] != drawn[0]


def test_a_dead_trial_is_tried_again_a_few_times_as_the_same_run(opened):
    study, dimensions = opened(), ranges(Family.CNN, {})
    queue(study, 1, None)
    again = optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=RETRIES)
    chosen = []
    for _ in range(RETRIES + 1):
        trial = study.ask()
        chosen.append(suggest(trial, dimensions))
        study.tell(trial, state=TrialState.FAIL)
        again(study, study.trials[-1])
    assert chosen == [chosen[0]] * (RETRIES + 1)
    assert open_ends(study) == (0, 0)
    assert [original(trial) for trial in study.trials] == [0] * (RETRIES + 1)
    assert all(map(was_queued, study.trials))
    assert len(last_tries(study)) == 1
    assert queue(study, 1, None) == 0


def test_a_study_of_other_settings_is_refused_with_what_differs(opened, tmp_path):
    opened()
    other = {**ABOUT, "model": "clip_vits32"}
    with pytest.raises(UserError, match=r"study 's' in sqlite:.* is of other settings \(model convnextv2_atto there, clip_vits32 here"):
        open_study(f"sqlite:///{tmp_path / 'sweeps.db'}", "s", other, maximize=True, pruner="none", epochs=3, seed=11)


@pytest.mark.parametrize(
    "address", ["nonsense", "sqlite:////no/such/folder/x.db", "postgresql+psycopg2://me:secret@127.0.0.1:1/x", "mongo://x"]
)
def test_a_storage_that_can_not_be_had_is_one_line_without_its_password(address):
    with pytest.raises(UserError, match="--storage") as caught:
        open_study(address, "s", ABOUT, maximize=True, pruner="none", epochs=3, seed=11)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
