"""How many steps fit into a time limit."""

from functools import partial

import pytest

from flowerml.settings import resolve
from flowerml.training.length.run_length import RunLength, shortened_length
from flowerml.training.length.time_limit import StepTimes, TimeLimit, most_steps, seconds_per_step

TIMES = StepTimes(frozen=1.0, full=3.0, between=5.0)


def length(total: int, frozen_epochs: int = 2) -> RunLength:
    return RunLength(10, ((0, total),), 0, frozen_epochs, 0)


@pytest.mark.parametrize(
    ("total", "start", "seconds"),
    [
        (10, 0, 10 * 1 + 5),
        (20, 0, 20 * 1 + 2 * 5),
        (23, 0, 20 * 1 + 3 * 3 + 3 * 5),
        (40, 10, 10 * 1 + 20 * 3 + 3 * 5),
        (40, 25, 15 * 3 + 2 * 5),
        (40, 40, 0),
    ],
)
def test_the_time_of_a_run_is_that_of_its_frozen_and_full_steps_and_of_what_follows_each_epoch(total, start, seconds):
    assert TIMES.of(length(total), start) == seconds


@pytest.mark.parametrize("seconds", [0.0, 14.9, 15.0, 100.0, 123.4, 400.0, 10_000.0])
@pytest.mark.parametrize("start", [0, 7, 10])
def test_the_most_steps_that_fit(seconds, start):
    found = most_steps(seconds, TIMES, length, start, 100)
    assert start <= found <= 100
    if found > start:
        assert TIMES.of(length(found), start) <= seconds
    if found < 100:
        assert TIMES.of(length(found + 1), start) > seconds


@pytest.mark.parametrize("model", ["convnextv2_large", "clip_vitl14"])
@pytest.mark.parametrize("minutes", [20, 60, 200, 400])
def test_a_recipe_fills_its_limit(model, minutes):
    """The frozen epochs are a share of those that fit, and cheaper."""
    settings = resolve({"model": model})[0]
    times = StepTimes(0.5, 1.5, 20.0)
    shortened = partial(shortened_length, settings, 92)
    found = most_steps(minutes * 60, times, lambda total: shortened(max(1, total)), 0, 92 * settings.epochs)
    assert times.of(shortened(found), 0) <= minutes * 60
    assert found == 92 * settings.epochs or times.of(shortened(found), 0) > 0.95 * minutes * 60


@pytest.mark.parametrize(("limit", "seconds"), [(3600.0, 16.0), (60.0, 1.5), (640.0, 16.0), (600.0, 15.0)])
def test_time_is_kept_for_the_end_but_never_much_of_the_limit(limit, seconds):
    assert TIMES.reserve(limit) == pytest.approx(seconds)


def test_time_spent_is_that_of_all_attempts():
    now = [100.0]
    limit = TimeLimit(60.0, lambda: now[0])
    now[0] = 130.0
    assert limit.spent == 30.0
    limit.earlier = 12.0
    assert limit.spent == 42.0


def trial(*seconds: float, limit: float = 1000.0) -> tuple[float, int]:
    """The time of a step that is found, and how many were taken."""
    now, taken = [0.0], []

    def steps():
        for one in seconds:
            now[0] += one
            taken.append(one)
            yield

    return seconds_per_step(steps(), lambda: now[0], limit, lambda flag: flag), len(taken)


def test_trial_steps_are_few_without_the_first_and_not_for_long():
    assert trial(6.0, 5.0, *[1.0] * 50) == (1.0, 10)
    assert trial(9.0, 5.0, 2.0, 4.0) == (3.0, 4)
    assert trial(9.0, 5.0, 2.0, 4.0, limit=100.0) == (2.0, 3)
    assert trial(90.0, 50.0, 10.0, 10.0) == (10.0, 3)
    assert trial(9.0, 5.0) == (5.0, 2)
    assert trial(9.0) == (9.0, 1)
