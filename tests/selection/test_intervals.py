"""Intervals against what theory says, their coverage on simulated runs, and that they do not depend on how the input
lies.
"""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binomtest, norm
from scipy.stats import t as student

from flowerml.errors import UserError
from flowerml.evaluation.metrics import wilson_interval
from flowerml.selection.intervals import Interval, Over, bootstrap_intervals, interval_over_seeds

Z = 1.959963984540054


def rights(pictures: int, *hits: int) -> np.ndarray:
    """(S, N): each seed right on its first pictures."""
    return np.arange(pictures) < np.array(hits)[:, None]


def discordant(pictures: int, only_first: int, only_second: int) -> dict[str, np.ndarray]:
    """Two models of one seed that differ on some pictures and are right on the others."""
    first, second = np.ones((2, 1, pictures), dtype=bool)
    second[0, :only_first] = False
    first[0, only_first : only_first + only_second] = False
    return {"first": first, "second": second}


def difference(right: dict[str, np.ndarray], **other: int) -> Interval:
    found = bootstrap_intervals(right, ("first", "second"), **other).difference
    assert found is not None
    return found


@pytest.mark.parametrize(("hits", "total"), [(730, 776), (776, 776), (388, 776), (97, 100), (0, 100), (9, 10)])
def test_with_one_seed_a_mean_has_wilsons_interval(hits, total):
    found = bootstrap_intervals({"a": rights(total, hits)}).intervals["a"]
    low, high = wilson_interval(hits, total)
    # As near as one picture and the bootstrap's own noise let it come.
    assert found.low == pytest.approx(low, abs=1.6 / total + 0.002)
    assert found.high == pytest.approx(high, abs=1.6 / total + 0.002)
    assert (found.over, found.seeds, found.pictures) == (Over.PICTURES, 1, total)


@pytest.mark.parametrize(("only_first", "only_second"), [(40, 20), (30, 30), (12, 2), (100, 150), (0, 0)])
def test_with_one_seed_a_difference_has_the_interval_of_two_paired_shares(only_first, only_second):
    """Bonett and Price 2012, with the two made-up pictures on which both agree counted as well."""
    pictures = 776
    found = difference(discordant(pictures, only_first, only_second))
    n, b, c = pictures + 4, only_first + 1, only_second + 1
    deviation = math.sqrt((b + c - (b - c) ** 2 / n) / n**2)
    centre = (b - c) / n
    for bound, expected in ((found.low, centre - Z * deviation), (found.high, centre + Z * deviation)):
        assert bound == pytest.approx(expected, abs=1.1 / n + 0.05 * deviation)


def test_with_one_seed_it_separates_where_mcnemars_exact_test_does():
    """Except near the border, where one of the two must be the first."""
    for only_first, only_second in itertools.product((1, 4, 5, 6, 9, 12, 15, 22), (0, 1, 3, 5)):
        if only_first <= only_second:
            continue
        p = binomtest(only_first, only_first + only_second).pvalue
        separated = difference(discordant(300, only_first, only_second), resamples=4000).low > 0
        if not 0.025 < p < 0.08:
            assert separated == (p < 0.05), (only_first, only_second, p)


def test_pairing_counts_pictures_that_both_get_wrong_once():
    """The same accuracies, wrong on the same pictures and on others: only the first difference is a sure one."""
    total = 1000
    first = rights(total, 960)
    nested = {"first": first, "second": rights(total, 945)}
    apart = {"first": first, "second": rights(total, 945)[:, ::-1]}
    assert difference(nested).low > 0
    assert difference(apart).low < 0


@pytest.mark.parametrize("hits", [(1000, 1200, 1400), (1000, 1400), (500, 750, 800, 1050, 1500)])
def test_where_seeds_differ_much_a_mean_has_students_interval(hits):
    total = 2000
    accuracies = np.array(hits) / total
    found = bootstrap_intervals({"a": rights(total, *hits)}, resamples=20_000).intervals["a"]
    half = student.ppf(0.975, len(hits) - 1) * accuracies.std(ddof=1) / math.sqrt(len(hits))
    mean = accuracies.mean()
    assert found.low == pytest.approx(max(0.0, mean - half), abs=0.07 * half)
    assert found.high == pytest.approx(min(1.0, mean + half), abs=0.07 * half)
    assert found.over is Over.BOTH


def test_seeds_are_paired():
    """Both models vary much from seed to seed, but together: their difference does not."""
    together = {"first": rights(2000, 1500, 1700, 1900), "second": rights(2000, 1400, 1600, 1800)}
    crossed = {"first": rights(2000, 1500, 1700, 1900), "second": rights(2000, 1800, 1600, 1400)}
    assert difference(together).low > 0
    assert difference(crossed).low < 0
    assert bootstrap_intervals(together).p_best["first"] > bootstrap_intervals(crossed).p_best["first"]


def test_one_seed_more_takes_its_chance_into_account():
    one, three = (bootstrap_intervals({"a": rights(776, *hits)}).intervals["a"] for hits in ((730,), (715, 730, 745)))
    assert three.high - three.low > 1.5 * (one.high - one.low)


def simulated(
    generator: np.random.Generator, seeds: int, pictures: int, seed_spread: float, accuracies: tuple[float, float]
) -> dict[str, np.ndarray]:
    """Two models: a picture is got right where its ease, the model's own view of it, the seed and chance add up to more
    than nothing.
    """
    parts = (1.0, 0.3, 0.3, seed_spread)
    level = norm.ppf(accuracies) * math.sqrt(sum(part**2 for part in parts))
    ease = generator.standard_normal(pictures)
    own, chance = generator.standard_normal((2, 1, pictures)), generator.standard_normal((2, seeds, pictures))
    seed = generator.standard_normal((2, seeds, 1))
    right = level[:, None, None] + ease + 0.3 * own + 0.3 * chance + seed_spread * seed > 0
    return {"first": right[0], "second": right[1]}


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "seed_spread"), [(1, 0.0), (2, 0.1), (3, 0.0), (3, 0.1), (3, 0.4), (5, 0.2)])
def test_intervals_hold_the_truth_as_often_as_they_say(seeds, seed_spread):
    """200 repetitions of 400 pictures: 95 % of them are 190, and fewer than 182 would be a chance of 1 in 200."""
    generator = np.random.default_rng(5)
    truths = (0.95, 0.94)
    held = {"difference": 0, "first": 0, "second": 0}
    for _ in range(200):
        right = simulated(generator, seeds, 400, seed_spread, truths)
        found = bootstrap_intervals(right, ("first", "second"), resamples=400)
        assert found.difference is not None
        held["difference"] += found.difference.low <= 0.01 <= found.difference.high
        for name, truth in zip(("first", "second"), truths, strict=True):
            held[name] += found.intervals[name].low <= truth <= found.intervals[name].high
    assert min(held.values()) >= 182


def test_p_best_of_equal_models_is_shared_and_of_a_much_better_one_is_one():
    same = rights(500, 450, 455)
    assert bootstrap_intervals({"a": same, "b": same.copy(), "c": same.copy()}).p_best == pytest.approx(
        dict.fromkeys("abc", 1 / 3)
    )
    found = bootstrap_intervals({"a": rights(500, 490), "b": rights(500, 400), "c": rights(500, 300)}).p_best
    assert found == {"a": 1.0, "b": 0.0, "c": 0.0}


def test_p_best_of_one_seed_is_the_chance_that_the_difference_keeps_its_sign():
    right = discordant(776, 40, 30)
    shares = bootstrap_intervals(right).p_best
    assert sum(shares.values()) == pytest.approx(1.0)
    deviation = math.sqrt(70 - 10**2 / 780)
    assert shares["first"] == pytest.approx(norm.cdf(10 / deviation), abs=0.02)


def test_the_same_input_gives_the_same_figures_however_it_lies():
    generator = np.random.default_rng(1)
    right = {name: generator.random((3, 200)) < 0.9 for name in "abcd"}
    expected = bootstrap_intervals(right, ("b", "c"))
    assert bootstrap_intervals(right, ("b", "c")) == expected
    turned = {name: right[name] for name in "dbca"}
    assert bootstrap_intervals(turned, ("b", "c")) == expected
    mirrored = bootstrap_intervals(right, ("c", "b")).difference
    assert mirrored is not None
    assert expected.difference is not None
    assert (mirrored.high + mirrored.low) == pytest.approx(
        -(expected.difference.high + expected.difference.low), abs=0.01
    )


def test_an_interval_of_a_mean_stays_within_0_and_1():
    found = bootstrap_intervals({"a": rights(50, 50, 20), "b": rights(50, 0, 0)}).intervals
    assert (found["a"].low, found["a"].high) == (0.0, 1.0)
    assert found["b"].low == 0.0
    assert 0.02 < found["b"].high < 0.15


def test_nothing_to_compare_gives_nothing_and_other_pictures_are_refused():
    empty = bootstrap_intervals({})
    assert (empty.intervals, empty.p_best, empty.difference) == ({}, {}, None)
    with pytest.raises(UserError, match="different pictures or seeds"):
        bootstrap_intervals({"a": rights(10, 5), "b": rights(11, 5)})


def test_students_interval_over_seeds_by_hand():
    """0.90, 0.93, 0.96: mean 0.93, deviation 0.03, and Student's 4.3027 with 2 degrees of freedom."""
    found = interval_over_seeds([0.96, 0.90, 0.93])
    assert found is not None
    half = 4.302653 * 0.03 / math.sqrt(3)
    assert (found.low, found.high) == pytest.approx((0.93 - half, 1.0))
    assert (found.over, found.seeds, found.pictures) == (Over.SEEDS, 3, None)
    below = interval_over_seeds([0.01, -0.01], floor=-1.0)
    assert below is not None
    assert (below.low, below.high) == pytest.approx((-0.127062, 0.127062), abs=1e-6)  # 12.7062 x 0.014142 / sqrt(2)


@pytest.mark.parametrize("values", [[0.9], [0.9, 0.9], [0.3, 0.1 + 0.2, 0.3]])
def test_one_seed_or_equal_ones_have_no_students_interval(values):
    assert interval_over_seeds(values) is None
