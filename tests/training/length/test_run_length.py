"""The length of a run in steps, and what of it is counted in epochs."""

import pytest

from flowerml.settings import resolve
from flowerml.training.length.run_length import RunLength, parse_fits, shortened_length, whole_length
from flowerml.training.schedule import Schedule

RECIPE = resolve({"model": "convnextv2_large", "unmixed_epochs": 6})[0]  # 45 epochs, warm-up 5, frozen 3
STEPS = 92


def test_a_run_without_a_limit_has_its_epochs():
    length = whole_length(RECIPE, STEPS)
    assert (length.total, length.epochs, length.in_epochs, length.as_text()) == (45 * 92, 45, "45", str(45 * 92))
    assert [length.steps_of(epoch) for epoch in (1, 45)] == [92, 92]
    assert [length.is_mixed(epoch) for epoch in (39, 40)] == [True, False]
    assert shortened_length(RECIPE, STEPS, length.total) == length


@pytest.mark.parametrize(
    ("total", "warmup", "frozen", "unmixed"),
    [(15 * 92, 153, 1, 2), (15 * 92 + 40, 158, 1, 2), (2 * 92, 20, 1, 1), (92, 10, 0, 0), (5, 1, 0, 0)],
)
def test_a_shorter_run_has_the_same_shares_of_warm_up_frozen_and_unmixed_epochs(total, warmup, frozen, unmixed):
    length = shortened_length(RECIPE, STEPS, total)
    assert (length.warmup_steps, length.frozen_epochs, length.unmixed_epochs) == (warmup, frozen, unmixed)


def test_what_lasts_for_the_whole_run_still_does():
    frozen = RECIPE.replace(freeze_backbone_epochs=45, unmixed_epochs=45)
    length = shortened_length(frozen, STEPS, 200)
    assert all(epoch <= length.frozen_epochs and not length.is_mixed(epoch) for epoch in (1, 2, 3))


def test_the_last_epoch_may_be_a_part_of_one():
    length = shortened_length(RECIPE, STEPS, 200)
    assert (length.epochs, length.in_epochs) == (3, "2.17")
    assert [length.steps_of(epoch) for epoch in (1, 2, 3)] == [92, 92, 16]


def test_a_fit_is_written_as_the_flag_takes_it():
    length = shortened_length(RECIPE, STEPS, 412).refitted(92, 405).refitted(184, 430)
    assert (length.total, length.as_text()) == (430, "412,405@92,430@184")
    assert parse_fits(length.as_text()) == length.fits == ((0, 412), (92, 405), (184, 430))
    assert parse_fits("7") == ((0, 7),)


def test_whether_an_epoch_is_mixed_is_decided_when_it_begins():
    length = RunLength(10, ((0, 30), (15, 20)), 0, 0, 1)
    assert [length.is_mixed(epoch) for epoch in (1, 2)] == [True, True]
    assert [RunLength(10, ((0, 30), (10, 20)), 0, 0, 1).is_mixed(epoch) for epoch in (1, 2)] == [True, False]


@pytest.mark.parametrize("refits", [((50, 120),), ((50, 80), (60, 90)), ((4, 60),), ((10, 60),), ((11, 60), (59, 61))])
def test_a_schedule_that_is_fitted_again_goes_on_from_where_it_is_and_ends_at_its_floor(refits):
    total = refits[-1][1]
    plain, fitted = Schedule("cosine", 100, 10), Schedule("cosine", 100, 10, refits)
    rates = [fitted.factor(step) for step in range(total)]
    since = refits[0][0]
    assert rates[:since] == [plain.factor(step) for step in range(since)]
    assert rates[10] == pytest.approx(1.0, abs=1e-3)
    assert rates[-1] == pytest.approx(1e-2)
    assert rates[9:] == sorted(rates[9:], reverse=True)


def test_a_later_fit_does_not_move_the_rates_before_it():
    once, twice = Schedule("cosine", 100, 10, ((50, 120),)), Schedule("cosine", 100, 10, ((50, 120), (80, 90)))
    assert [once.factor(step) for step in range(80)] == [twice.factor(step) for step in range(80)]
    assert once.factor(85) != twice.factor(85)
