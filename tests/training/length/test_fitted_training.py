"""Rule: a training with a time limit ends with it, its schedule at the end; resumed or repeated it is the same.

The clock is a count: every picture that is read takes time.
"""

import math
from dataclasses import dataclass, field, replace
from functools import partial

import pytest

from flowerml.data.loader import Example
from flowerml.errors import RunFailed, Stopped
from flowerml.training.checkpoints.progress import Progress
from flowerml.training.length.run_length import RunLength
from flowerml.training.length.time_limit import TimeLimit
from tests.training.checkpoints.recorded_runs import EVERYTHING, StateRecorder, comparable_state
from tests.training.conftest import Toy, Trained, examples

PICTURES = 32  # four batches of 8
LONG = {"epochs": 60, "warmup_epochs": 6}
LIMIT = 100.0


@dataclass
class Clock:
    """Seconds that a picture takes, each, in training by the number of those read before, and in validation."""

    training: dict[int, float] = field(default_factory=lambda: {0: 1 / 8})
    validation: float = 1 / 12
    now: float = 0.0
    read: int = 0

    def __call__(self) -> float:
        return self.now

    def train(self, example: Example):
        self.now += self.training[max(since for since in self.training if since <= self.read)]
        self.read += 1
        return example.read()

    def validate(self, example: Example):
        self.now += self.validation
        return example.read()


def fitted(clock: Clock, seconds: float = LIMIT, val: int = 12, **changes) -> tuple[Trained, list[RunLength]]:
    """A training with a limit, and its lengths as `on_length` got them."""
    lengths: list[RunLength] = []
    trained = Toy().run(
        pictures=[replace(one, read=partial(clock.train, one)) for one in examples(PICTURES)],
        val=[replace(one, read=partial(clock.validate, one)) for one in examples(val, first=1000)],
        time_limit=TimeLimit(seconds, clock),
        on_length=lengths.append,
        **{**LONG, "max_minutes": seconds / 60, **changes},
    )
    return trained, lengths


def repeated(length: RunLength, **changes) -> Trained:
    return Toy().run(
        pictures=examples(PICTURES), val=examples(12, first=1000), fitted_steps=length.as_text(), **{**LONG, **changes}
    )


PACES = {
    "steady": Clock(),
    "slow validation": Clock(validation=0.2),
    "no validation to speak of": Clock(validation=0.0),
    "slower later": Clock({0: 1 / 8, 200: 1 / 4}),
    "faster later": Clock({0: 1 / 8, 200: 1 / 16}),
    "slow start": Clock({0: 1.0, 20: 1 / 8}),
    "uneven": Clock({0: 1 / 8, 100: 1 / 6, 150: 1 / 9, 300: 1 / 5, 340: 1 / 8}),
    "few long epochs": Clock({0: 0.5}, validation=0.2),
}
pace = pytest.mark.parametrize("name", PACES)


@pace
def test_it_ends_within_five_percent_of_the_limit_with_the_schedule_at_its_end(name):
    clock = replace(PACES[name])
    trained, lengths = fitted(clock)
    assert 0.95 * LIMIT <= clock.now <= 1.0 * LIMIT
    assert trained.rows[-1]["lr_head"] == pytest.approx(0.02 / 100)
    assert trained.outcome.stop_cause == "all fitted steps done"
    assert trained.outcome.length == lengths[-1]
    assert len(trained.rows) == lengths[-1].epochs < 60


@pytest.mark.slow
@pace
def test_repeated_by_its_fitted_steps_it_is_the_same(name):
    changes = {**EVERYTHING, **LONG, "freeze_backbone_epochs": 4, "unmixed_epochs": 6}
    trained, lengths = fitted(replace(PACES[name]), **changes)
    again = repeated(lengths[-1], **changes)
    assert comparable_state(again) == comparable_state(trained)
    assert again.outcome.length == trained.outcome.length


def test_a_steady_run_is_fitted_once_and_trial_steps_leave_no_trace():
    trained, lengths = fitted(Clock())
    assert [length.as_text() for length in lengths] == ["75"]
    plain = repeated(lengths[0])
    assert comparable_state(trained) == comparable_state(plain)


def test_a_limit_that_is_long_enough_changes_nothing():
    changes = {**EVERYTHING, "unmixed_epochs": 1}
    trained, lengths = fitted(Clock(), 10_000.0, **changes)
    plain = Toy().run(pictures=examples(PICTURES), val=examples(12, first=1000), **changes)
    assert comparable_state(trained) == comparable_state(plain)
    assert [length.in_epochs for length in lengths] == ["4"]


def test_less_than_an_epoch_is_said_and_ends_with_a_validation(caplog):
    clock = Clock({0: 10.0})
    trained, lengths = fitted(clock, 640.0)
    assert lengths[-1].total == 3
    assert clock.now <= 640.0
    (row,) = trained.rows
    assert "val_accuracy" in row
    assert trained.outcome.best.epoch == 1
    assert "is too short for an epoch of 4 steps (a step takes about 1 min 20 s" in caplog.text
    assert "the run ends after 3 of them, with a validation" in caplog.text


def test_a_limit_without_room_for_a_step_is_one_line():
    with pytest.raises(RunFailed, match=r"^--max-minutes 0.1 is too short for a single step: a step takes about 1 min"):
        fitted(Clock({0: 10.0}), 6.0)


def test_a_frozen_start_is_shortened_with_the_run_and_the_backbone_trained_after_it():
    trained, lengths = fitted(Clock(), freeze_backbone_epochs=16)
    assert lengths[0].frozen_epochs == round(16 * lengths[0].total / 240)
    assert [row["lr_backbone"] > 0 for row in trained.rows] == [True] * len(trained.rows)
    before = trained.after[lengths[0].frozen_epochs - 1]
    assert not trained.after[-1]["backbone.0.weight"].equal(before["backbone.0.weight"])
    assert before["backbone.0.weight"].equal(trained.after[0]["backbone.0.weight"])


def test_without_validation_the_last_weights_are_the_best():
    clock = Clock({0: 1 / 8, 200: 1 / 3})
    trained, lengths = fitted(clock, val=0)
    assert 0.94 * LIMIT <= clock.now <= LIMIT
    assert trained.outcome.best.epoch == lengths[-1].epochs == len(trained.rows)


def test_early_stopping_ends_it_before_the_limit():
    clock = Clock()
    trained, _ = fitted(clock, lr_head=1e-12, lr_backbone=1e-12, weight_decay=0.0, patience=3)
    assert trained.outcome.stop_cause.startswith("stopped after epoch 4")
    assert clock.now < LIMIT / 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["slow validation", "few long epochs"])
def test_resuming_from_every_checkpoint_gives_the_same_result(name):
    """Each attempt's clock starts at 0: the time spent before is in the checkpoint."""
    changes = {**EVERYTHING, **LONG, "checkpoint_every_steps": 3, "unmixed_epochs": 6}
    recorder = StateRecorder()
    whole, lengths = fitted(replace(PACES[name]), on_state=recorder, **changes)
    assert len(lengths) > 1
    for progress in recorder.states:
        again, _ = fitted(replace(PACES[name]), load_state=partial(recorder.at, progress), **changes)
        assert comparable_state(again) == comparable_state(whole), progress
        assert again.outcome.length == whole.outcome.length


def test_a_stop_during_the_trial_steps_ends_with_a_checkpoint_of_the_first_step():
    asked: list[None] = []

    def stop_reason():
        asked.append(None)
        return "test" if len(asked) > 1 else None

    recorder = StateRecorder()
    with pytest.raises(Stopped, match="test"):
        fitted(Clock(), stop_reason=stop_reason, on_state=recorder)
    assert list(recorder.states) == [Progress(0, 1)]
    resumed, _ = fitted(Clock(), load_state=partial(recorder.at, Progress(0, 1)))
    assert math.isclose(resumed.rows[-1]["lr_head"], 0.02 / 100)


def test_more_fitted_steps_than_epochs_have_are_refused():
    with pytest.raises(RunFailed, match=r"^--fitted-steps 241: --epochs 60 are 240 steps here, and it is longer"):
        Toy().run(pictures=examples(PICTURES), **LONG, fitted_steps="241")
