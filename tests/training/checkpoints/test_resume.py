"""A resumed training equals an uninterrupted one, bit for bit, from every step on."""

from functools import partial

import pytest

from flowerml.data.loader import Example
from flowerml.models import BuiltModel
from flowerml.training.checkpoints.progress import CheckpointInterval, Progress
from tests.training.checkpoints.recorded_runs import (
    CASES,
    EVERYTHING,
    SLOW_CASES,
    StateRecorder,
    best_weights_after,
    comparable_state,
    run_and_record,
)
from tests.training.conftest import Toy, examples, tiny_built
from tests.training.performance.test_out_of_memory import with_limited_backbone


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW_CASES else name for name in CASES]
)
def test_resuming_from_every_step_gives_the_same_result(name):
    changes = CASES[name]
    uninterrupted, recorder = run_and_record(**changes)
    epochs = len(uninterrupted.rows)
    assert list(recorder.states) == [
        progress
        for epoch in range(epochs)
        for progress in (*(Progress(epoch, n) for n in range(1, 5)), Progress(epoch + 1, 0))
    ]
    for progress in recorder.states:
        resumed = Toy().run(load_state=partial(recorder.at, progress), **changes)
        assert comparable_state(resumed) == comparable_state(uninterrupted), progress
        assert best_weights_after(resumed, progress.epochs) == best_weights_after(uninterrupted, progress.epochs), (
            progress
        )


def test_saving_states_changes_nothing():
    assert comparable_state(run_and_record(**EVERYTHING)[0]) == comparable_state(Toy().run(**EVERYTHING))


def test_the_cases_cover_plateau_and_early_stop():
    assert Toy().run(**CASES["plateau"]).outcome.cuts == [3, 5]
    assert Toy().run(**CASES["stopped early"]).outcome.stop_cause.startswith("stopped after epoch 4")


def test_resume_with_worker_processes():
    uninterrupted, recorder = run_and_record(**EVERYTHING)
    resumed = Toy().run(load_state=partial(recorder.at, Progress(2, 3)), workers=2, **EVERYTHING)
    assert comparable_state(resumed) == comparable_state(uninterrupted)


def test_resumed_twice():
    uninterrupted, first = run_and_record(**EVERYTHING)
    second = StateRecorder()
    Toy().run(load_state=partial(first.at, Progress(1, 2)), on_state=second, **EVERYTHING)
    assert comparable_state(Toy().run(load_state=partial(second.at, Progress(3, 0)), **EVERYTHING)) == comparable_state(
        uninterrupted
    )


def test_images_seen_before_are_not_read_again():
    _, recorder = run_and_record(epochs=1)
    read: list[str] = []

    def recorded_read(example):
        read.append(example.id)
        return example.read()

    pictures = [Example(one.id, one.label, partial(recorded_read, one)) for one in examples(27)]
    Toy().run(pictures=pictures, load_state=partial(recorder.at, Progress(0, 3)), epochs=1)
    assert len(read) == 27 - 3 * 8


@pytest.mark.slow
def test_the_smaller_micro_batches_are_kept_after_a_resume():
    def built() -> BuiltModel:
        return with_limited_backbone(tiny_built, 4)

    changes = {"epochs": 2, "batch_size": 8}
    uninterrupted, recorder = run_and_record(built=built(), **changes)
    assert len(uninterrupted.remarks) == 1
    resumed = Toy().run(built=built(), load_state=partial(recorder.at, Progress(0, 2)), **changes)
    assert comparable_state(resumed) == comparable_state(uninterrupted)
    assert resumed.remarks == ["memory ran out in an earlier try: going on with each batch in 2 parts"]
    more = Toy().run(built=built(), load_state=partial(recorder.at, Progress(0, 2)), accumulate=4, **changes)
    assert more.remarks == []


@pytest.mark.parametrize(
    ("every", "positions"),
    [
        (0, [(1, 0), (2, 0)]),
        (3, [(0, 3), (1, 0), (1, 2), (2, 0)]),
        (8, [(1, 0), (1, 4), (2, 0)]),
        (100, [(1, 0), (2, 0)]),
    ],
)
def test_checkpoints_are_saved_after_every_epoch_and_every_n_steps(every, positions):
    recorder = StateRecorder()
    Toy().run(on_state=recorder, checkpoint_every_steps=every, epochs=2)
    assert list(recorder.states) == [Progress(*position) for position in positions]


def test_checkpoints_are_saved_by_time():
    recorder = StateRecorder()
    Toy().run(on_state=recorder, checkpoint_every_minutes=1e-12, epochs=1)
    assert list(recorder.states) == [Progress(0, 1), Progress(0, 2), Progress(0, 3), Progress(0, 4), Progress(1, 0)]
    assert not CheckpointInterval(0, 1e4).is_due(1)
    assert not CheckpointInterval(0, 0).is_due(1)


def test_progress_is_ordered_and_has_a_text():
    assert sorted([Progress(2, 0), Progress(1, 3), Progress(1, 0)]) == [Progress(1, 0), Progress(1, 3), Progress(2, 0)]
    assert [str(Progress(3, 0)), str(Progress(3, 2))] == ["after epoch 3", "after step 2 of epoch 4"]
