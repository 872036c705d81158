"""Tests of the time that training waits for its batches."""

from collections.abc import Iterator

import pytest

from flowerml.training.performance.data_wait import DataWait
from tests.training.conftest import Toy


class Clock:
    """A clock that a test moves on (s)."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def loading(clock: Clock, *seconds: float) -> Iterator[int]:
    """A batch after each of these times; one that took the last of them finds that there are no more."""
    for number, takes in enumerate(seconds):
        clock.now += takes
        if number < len(seconds) - 1:
            yield number


def test_the_time_until_a_batch_is_there_is_waited_and_the_step_after_it_is_not():
    clock = Clock()
    wait = DataWait(clock)
    for epoch in (1, 2):
        for _ in wait.measured(loading(clock, 3.0, 1.0, 0.5)):
            clock.now += 2.0  # the step
        assert (wait.waited_s, wait.total_s) == (4.0 * epoch, 8.5 * epoch)
    assert wait.share == pytest.approx(4.0 / 8.5)


def test_an_epoch_that_ends_within_counts_as_far_as_it_went():
    clock = Clock()
    wait = DataWait(clock)
    batches = wait.measured(loading(clock, 3.0, 1.0, 0.5))
    next(batches)
    clock.now += 2.0
    batches.close()
    assert (wait.waited_s, wait.total_s) == (3.0, 5.0)


def test_before_the_first_epoch_nothing_has_waited():
    assert DataWait().share == 0.0


def test_the_trainer_tells_it_after_each_epoch(toy: Toy):
    told: list[float] = []
    toy.run(epochs=3, on_data_wait=lambda wait: told.append(wait.total_s))
    assert len(told) == 3
    assert 0 < told[0] < told[1] < told[2]
