"""The study's database: several processes change the state of a trial at once, and one of them does it."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from flowerml.sweep.storage import open_storage

TRIALS, WORKERS = 8, 4


@pytest.mark.parametrize("state", [TrialState.RUNNING, TrialState.FAIL])
def test_the_state_of_a_trial_is_changed_by_one_process(tmp_path, state):
    """Taken by one worker, or given up by one, also on SQLite, which has no row locks.

    Each thread has connections of its own, as processes have.
    """
    address = f"sqlite:///{tmp_path / 'sweeps.db'}"
    study = optuna.create_study(storage=open_storage(address, 10))
    ids = [study.ask()._trial_id if state is TrialState.FAIL else _enqueued(study) for _ in range(TRIALS)]
    storages = [open_storage(address, 10) for _ in range(WORKERS)]
    together = Barrier(WORKERS)

    def change_all(storage):
        changed = []
        for trial_id in ids:
            together.wait()
            try:
                changed.append(storage.set_trial_state_values(trial_id, state))
            except UpdateFinishedTrialError:
                changed.append(False)
        return changed

    with ThreadPoolExecutor(WORKERS) as pool:
        changed = list(pool.map(change_all, storages))
    assert [sum(by_worker) for by_worker in zip(*changed, strict=True)] == [1] * TRIALS


def _enqueued(study):
    study.enqueue_trial({})
    return study.get_trials(deepcopy=False)[-1]._trial_id
