"""When the length of a run is fitted again: not for what a step's time varies by, but in time to end with the limit."""

import pytest

from flowerml.settings import resolve
from flowerml.training.distributed.ranks import SINGLE
from flowerml.training.length.fit import LengthFit
from flowerml.training.length.time_limit import StepTimes, TimeLimit
from flowerml.training.schedule import COSINE_FLOOR, Schedule

STEPS_PER_EPOCH = 100


class Run:
    """A run of an hour by a clock of its own, whose steps were tried at a second each."""

    def __init__(self) -> None:
        self.now = 0.0
        limit = TimeLimit(3600.0, lambda: self.now)
        settings, _ = resolve({"epochs": 1000, "max_minutes": 60, "freeze_backbone_epochs": 0, "warmup_epochs": 0})
        self.fit = LengthFit(settings, STEPS_PER_EPOCH, limit, SINGLE)
        self.fit.choose(StepTimes(1.0, 1.0, 0.0))
        self.chosen = self.fit.length.total

    def go(self, seconds_of_epoch):
        """Run to its end; `seconds_of_epoch` gives the time of a step of an epoch. Returns how often it was fitted."""
        epoch = 0
        while epoch * STEPS_PER_EPOCH < self.fit.length.total:
            epoch += 1
            steps = self.fit.length.steps_of(epoch)
            self.now += steps * seconds_of_epoch(epoch)
            done = (epoch - 1) * STEPS_PER_EPOCH + steps
            self.fit.update(done, frozen=False, seconds=seconds_of_epoch(epoch), between=0.0)
        return len(self.fit.length.fits)


def test_steps_that_take_a_little_more_and_a_little_less_in_turns_change_nothing():
    run = Run()
    assert run.go(lambda epoch: 1.04 if epoch % 2 else 0.96) == 1
    assert run.now == pytest.approx(3600, rel=0.05)


@pytest.mark.parametrize("factor", [0.5, 0.97, 1.03, 1.1, 2.0])
def test_a_run_of_another_speed_than_the_trials_ends_with_its_limit_after_few_fits(factor):
    run = Run()
    assert run.go(lambda _epoch: factor) <= 6
    assert run.now <= 1.01 * 3600
    assert run.now >= 0.95 * 3600


def test_a_run_that_slows_down_near_its_end_is_shortened_in_time():
    run = Run()
    assert run.go(lambda epoch: 1.0 if epoch <= 30 else 1.3) > 1
    assert run.fit.length.total < run.chosen
    assert run.now <= 1.01 * 3600


def test_a_run_whose_time_is_over_takes_one_more_step_for_the_floor_of_its_learning_rate():
    run = Run()
    run.now = 4000.0
    run.fit.update(STEPS_PER_EPOCH, frozen=False, seconds=1.0, between=0.0)
    assert run.fit.length.total == STEPS_PER_EPOCH + 1
    (_, total), *later = run.fit.length.fits
    assert Schedule("cosine", total, 0, tuple(later)).factor(STEPS_PER_EPOCH) == pytest.approx(COSINE_FLOOR)
