"""The rule as a table: mean accuracy in hits, macro-F1, variance between seeds, the plan, config_id; numbers worked out
by hand.
"""

import itertools
import random
import statistics
from dataclasses import replace

import pytest

from flowerml.selection.candidates import Configuration
from flowerml.selection.rank import best_run, levels_of, rank_configurations
from flowerml.selection.records import Rule
from tests.selection.samples import TOTAL, configuration, run


def order(*configurations: Configuration) -> list[tuple[str, str | None]]:
    return [
        (one.configuration.config_id, one.ahead_by and one.ahead_by.name) for one in rank_configurations(configurations)
    ]


def without_hits(one: Configuration) -> Configuration:
    return Configuration(one.config_id, tuple(replace(each, hits=None, total=None) for each in one.runs))


# Better in everything further down the rule: what decides is above it.
WORSE_BELOW = {"f1": 0.4, "plan_order": 9}

TABLE = [
    # 91 + 90 + 89 = 270 against 269, whatever the rest says
    (configuration("z", 89, 90, 91, **WORSE_BELOW), configuration("a", 90, 90, 89, f1=0.9, plan_order=1), "ACCURACY"),
    # 270 both: macro-F1 0.5 against 0.4
    (
        configuration("z", 80, 90, 100, f1=0.5, plan_order=9),
        configuration("a", 90, 90, 90, f1=0.4, plan_order=1),
        "MACRO_F1",
    ),
    # macro-F1 equal too: squares about 90 are 1 + 0 + 1 = 2 against 4 + 0 + 4 = 8
    (configuration("z", 89, 90, 91, plan_order=9), configuration("a", 88, 90, 92, plan_order=1), "VARIANCE"),
    # the same hits in another order: the plan's place 2 before 10, and a place before none
    (configuration("z", 89, 90, 91, plan_order=2), configuration("a", 91, 89, 90, plan_order=10), "PLAN"),
    (configuration("z", 89, 90, 91, plan_order=2), configuration("a", 91, 89, 90), "PLAN"),
    # nothing else differs
    (configuration("a", 89, 90, 91, plan_order=2), configuration("z", 91, 89, 90, plan_order=2), "CONFIG_ID"),
    (configuration("a", 90, 90, 90), configuration("b", 90, 90, 90), "CONFIG_ID"),
    # one seed: its variance is none, so the plan decides
    (configuration("z", 90, plan_order=1), configuration("a", 90, plan_order=2), "PLAN"),
]


@pytest.mark.parametrize("change", [lambda one: one, without_hits], ids=["hits", "accuracies"])
@pytest.mark.parametrize(("first", "second", "level"), TABLE)
def test_each_level_decides_where_those_above_are_equal(first, second, level, change):
    expected = [(first.config_id, level), (second.config_id, None)]
    assert order(change(first), change(second)) == expected
    assert order(change(second), change(first)) == expected


@pytest.mark.parametrize(("rule", "first"), [(Rule.ACCURACY, "ACCURACY"), (Rule.MEAN_RECALL, "MEAN_RECALL")])
def test_the_levels_are_those_of_the_rule_in_this_order(rule, first):
    assert [level.name for level in levels_of(rule)] == [first, "MACRO_F1", "VARIANCE", "PLAN", "CONFIG_ID"]


def by_recall(*configurations):
    """The order by mean recall, and the level that decides."""
    return [
        (one.configuration.config_id, one.ahead_by and one.ahead_by.name)
        for one in rank_configurations(configurations, Rule.MEAN_RECALL)
    ]


def test_by_mean_recall_it_decides_whatever_the_accuracy():
    rare, frequent = configuration("rare", 80, 80, mean_recall=0.7), configuration("often", 95, 95, mean_recall=0.6)
    assert by_recall(frequent, rare) == [("rare", "MEAN_RECALL"), ("often", None)]
    assert order(frequent, rare)[0] == ("often", "ACCURACY")
    (first, _) = rank_configurations([frequent, rare], Rule.MEAN_RECALL)
    assert (first.mean_recall.mean, first.accuracy.mean) == (0.7, 0.8)


def test_by_mean_recall_ties_are_those_of_the_other_rule_and_the_variance_is_of_the_recall():
    same = configuration("same", 90, 90, mean_recall=0.6)
    assert by_recall(same, configuration("f1", 50, 50, f1=0.6, mean_recall=0.6 + 5e-10))[0] == ("f1", "MACRO_F1")
    uneven = Configuration(
        "uneven", tuple(replace(one, mean_recall=value) for one, value in zip(same.runs, (0.5, 0.7), strict=True))
    )
    assert by_recall(uneven, configuration("even", 80, 99, mean_recall=0.6))[0] == ("even", "VARIANCE")


def test_the_best_seed_is_that_of_the_rule():
    runs = [run("a", 11, 95, mean_recall=0.5), run("a", 23, 90, mean_recall=0.6)]
    assert (best_run(runs).seed, best_run(runs, Rule.MEAN_RECALL).seed) == (11, 23)


def test_macro_f1_within_1e_9_is_a_tie_and_a_little_more_is_none():
    plan = configuration("a", 90, 90, f1=0.3, plan_order=1)
    assert order(configuration("z", 90, 90, f1=0.3 + 9e-10, plan_order=2), plan) == [("a", "PLAN"), ("z", None)]
    assert order(configuration("z", 90, 90, f1=0.3 + 2e-9, plan_order=2), plan) == [("z", "MACRO_F1"), ("a", None)]


def test_a_tie_in_accuracy_is_one_of_hits_not_of_rounded_sums():
    """0.1 + 0.2 + 0.6 and 0.3 + 0.3 + 0.3 are the same nine tenths, and not the same float."""
    one = configuration("a", 10, 20, 60, f1=0.4)
    other = configuration("b", 30, 30, 30)
    assert 0.1 + 0.2 + 0.6 != 0.3 + 0.3 + 0.3
    for change in (lambda c: c, without_hits):
        assert order(change(one), change(other)) == [("b", "MACRO_F1"), ("a", None)]


def test_one_hit_among_a_million_pictures_decides():
    one, other = (
        Configuration(c, tuple(run(c, seed, hits, accuracy=hits / 10**6, total=10**6) for seed in range(3)))
        for c, hits in (("z", 940_001), ("a", 940_000))
    )
    for change in (lambda c: c, without_hits):
        assert order(change(other), change(one)) == [("z", "ACCURACY"), ("a", None)]


def test_mean_deviation_and_number_of_both_figures():
    runs = tuple(run("a", seed, hits, f1) for seed, hits, f1 in ((11, 90, 0.8), (23, 93, 0.7), (47, 96, 0.9)))
    standing = rank_configurations([Configuration("a", runs)])[0]
    assert standing.accuracy.mean == pytest.approx(0.93)
    assert standing.accuracy.deviation == pytest.approx(0.03)  # sqrt((9 + 0 + 9) / 2) = 3 of 100
    assert standing.macro_f1.mean == pytest.approx(0.8)
    assert standing.macro_f1.deviation == pytest.approx(0.1)
    assert (standing.accuracy.n, standing.hits, standing.total, standing.place, standing.ahead_by) == (
        3,
        279,
        300,
        1,
        None,
    )
    assert rank_configurations([configuration("a", 90)])[0].accuracy.deviation is None


def test_each_place_says_by_what_it_is_before_the_next():
    found = order(
        configuration("f", 88, 90, 90),
        configuration("e", 90, 90, 89, plan_order=5),
        configuration("d", 90, 90, 90, f1=0.5, plan_order=3),
        configuration("c", 90, 90, 90, f1=0.5, plan_order=2),
        configuration("b", 89, 91, 90, f1=0.5, plan_order=1),
        configuration("a", 90, 90, 90, f1=0.6),
    )
    assert found == [
        ("a", "MACRO_F1"),
        ("c", "PLAN"),
        ("d", "VARIANCE"),
        ("b", "ACCURACY"),
        ("e", "ACCURACY"),
        ("f", None),
    ]


def test_none_and_one_are_ranked_too():
    assert rank_configurations([]) == ()
    assert order(configuration("a", 90)) == [("a", None)]


def random_configurations(draw: random.Random) -> list[Configuration]:
    """Six with many ties at every level."""
    return [
        configuration(
            name,
            *(draw.choice((89, 90)) for _ in range(3)),
            f1=draw.choice((0.4, 0.4 + 5e-10, 0.5)),
            plan_order=draw.choice((1, 2, None)),
        )
        for name in draw.sample("abcdefghij", 6)
    ]


def test_the_order_of_the_input_does_not_matter():
    draw = random.Random(7)
    for _ in range(50):
        configurations = random_configurations(draw)
        expected = rank_configurations(configurations)
        draw.shuffle(configurations)
        assert rank_configurations(configurations) == expected


def test_the_ranking_is_that_of_sorting_by_a_tuple():
    """Written down another way: one key per configuration."""
    draw = random.Random(8)
    for _ in range(200):
        configurations = random_configurations(draw)

        def key(one: Configuration) -> tuple:
            hits = [each.hits for each in one.runs]
            return -sum(hits), -round(one.runs[0].macro_f1, 6), statistics.variance(hits), one.plan_order, one.config_id

        expected = sorted(configurations, key=key)
        found = rank_configurations(configurations)
        assert [one.configuration for one in found] == expected
        assert [one.configuration for one in rank_configurations([without_hits(one) for one in configurations])] == [
            without_hits(one) for one in expected
        ]
        for one, other in itertools.pairwise(found):
            first, second = key(one.configuration), key(other.configuration)
            assert (
                one.ahead_by
                is levels_of(Rule.ACCURACY)[next(place for place in range(5) if first[place] != second[place])]
            )


@pytest.mark.parametrize(
    ("runs", "seed"),
    [
        (((11, 90, 0.9), (23, 92, 0.1), (47, 91, 0.9)), 23),
        (((11, 92, 0.1), (23, 92, 0.3), (47, 92, 0.2)), 23),
        (((47, 92, 0.3), (23, 92, 0.3 + 5e-10), (11, 90, 0.3)), 23),
        (((47, 92, 0.3), (23, 92, 0.3), (11, 92, 0.3 - 5e-10)), 11),
        (((0, 92, 0.3), (11, 92, 0.3)), 0),
    ],
)
def test_the_best_seed_has_most_hits_then_macro_f1_then_the_smaller_seed(runs, seed):
    made = [run("a", *values) for values in runs]
    for several in itertools.permutations(made):
        assert best_run(several).seed == seed
        assert best_run([replace(one, hits=None) for one in several]).seed == seed


def test_hits_of_different_totals_are_not_compared():
    """Hits of a part of the pictures: 60 of 64 are more than 90 of 100."""
    part = Configuration("z", (run("z", hits=60, accuracy=60 / 64, total=64),))
    assert order(configuration("a", 90), part) == [("z", "ACCURACY"), ("a", None)]
    assert part.runs[0].total != TOTAL
