"""The whole decision: places, intervals, winner against runner-up, the chosen run, and what the words admit."""

import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest

from flowerml.selection.decision import Decision, make_decision
from flowerml.selection.intervals import Over
from flowerml.selection.rank import Level, rank_runs
from flowerml.selection.records import PictureResults, Scope
from tests.selection.samples import SEEDS, THREE, decide, drawn, judged, results, run


def has(decision: Decision, *texts: str) -> None:
    for text in texts:
        assert text in decision.words, decision.words


def test_the_winner_its_best_seed_and_the_runner_up():
    runs = [
        *(run("a", seed, hits) for seed, hits in zip(SEEDS, (90, 93, 91), strict=True)),  # 274
        *(
            run("b", seed, hits) for seed, hits in zip(SEEDS, (95, 88, 90), strict=True)
        ),  # 273, though its best is better
        run("c", 11, 99),
    ]
    decision = decide(runs, THREE)
    assert decision.winner is not None
    assert decision.comparison is not None
    assert [one.configuration.config_id for one in decision.standings] == ["a", "b"]
    assert decision.chosen == runs[1]
    assert (decision.comparison.winner, decision.comparison.runner_up, decision.comparison.decided_by) == (
        "a",
        "b",
        Level.ACCURACY,
    )
    assert decision.comparison.difference == pytest.approx(1 / 300)
    assert [(one.config_id, one.reasons) for one in decision.ineligible] == [("c", ("lacks seed 23, 47",))]
    has(
        decision,
        "net a is the first of 2 eligible configurations (1 not eligible)",
        "mean validation accuracy 0.9133 over seeds 11, 23, 47",
    )
    has(
        decision,
        "n = 3; standard deviation 0.0153; 274 hits of 300",
        "(274 against 273 hits)",
        "best seed is 23, run a-s23 (id-a-23)",
    )


def test_with_results_of_the_two_best_the_bootstrap_speaks():
    runs, fetched = drawn({"a": 0.95, "b": 0.85, "c": 0.6})
    two = {run_id: result for run_id, result in fetched.items() if not run_id.startswith("id-c")}
    decision = decide(runs, THREE, two)
    assert decision.comparison is not None
    assert decision.comparison.interval is not None
    assert decision.comparison.separated is True
    assert decision.comparison.interval.over is Over.BOTH
    assert [one.interval and one.interval.over for one in decision.standings] == [Over.BOTH, Over.BOTH, Over.SEEDS]
    assert [one.p_best is None for one in decision.standings] == [False, False, True]
    has(decision, "over pictures and seeds, paired): separated.", "best of 2 in 100 % of the resamples")


def test_all_results_give_p_best_over_all():
    runs, fetched = drawn({"a": 0.95, "b": 0.945, "c": 0.94, "d": 0.6})
    decision = decide(runs, THREE, fetched)
    shares = [one.p_best or 0.0 for one in decision.standings]
    assert sum(shares) == pytest.approx(1.0)
    assert shares[0] > shares[3]
    has(decision, "the winner is the best of 4 in".capitalize())


@pytest.mark.parametrize(
    ("of_a", "of_b", "cheaper", "words"),
    [
        (
            {"parameters": 88},
            {"parameters": 197},
            "a",
            "the cheaper model of the two is net a, and the rule still decides",
        ),
        (
            {"parameters": 197},
            {"parameters": 88},
            "b",
            "the cheaper model of the two is net b, and the rule still decides",
        ),
        ({"parameters": 88}, {"parameters": 88}, None, "both models cost the same, and the rule still decides"),
        (
            {"parameters": 88, "cost": 2.0},
            {"parameters": 88, "cost": 1.0},
            "b",
            "the cheaper model of the two is net b",
        ),
        ({"parameters": 88, "cost": 2.0}, {"parameters": 197}, "a", "the cheaper model of the two is net a"),
        ({"parameters": 88}, {}, None, "which model is cheaper is not known, and the rule still decides"),
    ],
)
def test_not_separated_names_the_cheaper_model_and_the_rule_decides(of_a, of_b, cheaper, words):
    right = np.arange(200) < 190
    other = right.copy()
    other[0] = False
    pairs = [judged("a", seed, right, **of_a) for seed in SEEDS] + [judged("b", seed, other, **of_b) for seed in SEEDS]
    decision = decide([one for one, _ in pairs], THREE, {one.run_id: result for one, result in pairs})
    assert decision.comparison is not None
    assert decision.winner is not None
    assert decision.winner.configuration.config_id == "a"
    assert decision.comparison.separated is False
    assert decision.comparison.cheaper == cheaper
    has(decision, "not separated", words)


@pytest.mark.parametrize(
    ("of_b", "words"),
    [
        ({"f1": 0.4}, "equal in mean accuracy: the mean macro-F1 decided (0.5 against 0.4)"),
        (
            {"seeds": (94, 90, 92)},
            "mean macro-F1: the smaller variance between seeds decided (standard deviation 0.010000 against 0.020000)",
        ),
        ({"plan_order": 3}, "and variance between seeds: the order of the plan decided"),
        ({}, "and order of the plan: the configuration id decided, which is as good as a coin"),
    ],
)
def test_the_words_say_at_which_level_it_was_decided(of_b, words):
    hits = of_b.get("seeds", (91, 92, 93))
    of_b = {name: value for name, value in of_b.items() if name != "seeds"}
    plan = {"plan_order": 2} if "plan_order" in of_b else {}
    runs = [run("a", seed, count, **plan) for seed, count in zip(SEEDS, (91, 92, 93), strict=True)]
    runs += [run("b", seed, count, **of_b) for seed, count in zip(SEEDS, hits, strict=True)]
    has(decide(runs, THREE), words)


def test_the_words_admit_what_the_figures_can_not_say():
    runs, fetched = drawn({"a": 0.95, "b": 0.94})
    one_seed = [one for one in runs if one.seed == 11]
    admitted = ("after selection", "on the pictures that also chose each run's epoch", "on one split", "--test-dir")
    for decision in (decide(runs, THREE, fetched), decide(runs, THREE), decide(one_seed, Scope(seeds=(11,)), fetched)):
        has(decision, *admitted)
        assert 2 <= len(decision.sentences) <= 6
    has(
        decide(one_seed, Scope(seeds=(11,)), fetched),
        "with one seed only pictures were resampled",
        "over pictures, paired",
    )
    has(
        decide(runs, THREE),
        "its interval is over seeds alone (Student's t)",
        "whether the two are separated can't be said",
    )
    bare = decide(one_seed, Scope(seeds=(11,)))
    has(bare, "there is no interval", "can't be said without per-picture results or more seeds")
    assert [one.interval for one in bare.standings] == [None, None]
    assert bare.comparison is not None
    assert (bare.comparison.interval, bare.comparison.separated) == (None, None)


def test_one_eligible_configuration_wins_without_a_comparison():
    runs, fetched = drawn({"a": 0.95})
    decision = decide(runs, THREE, fetched)
    assert decision.comparison is None
    assert decision.standings[0].p_best is None
    has(decision, "the first of 1 eligible configuration:", "compared with none")


def test_no_eligible_configuration_is_a_decision_without_a_winner():
    decision = decide([run("a", 11), run("b", 11, status="FAILED")], THREE)
    assert (decision.winner, decision.chosen, decision.comparison, decision.standings) == (None, None, None, ())
    assert len(decision.ineligible) == len(decision.sentences) == 2
    has(decision, "No configuration is eligible: 2 found", "seeds 11, 23, 47")
    assert json.loads(json.dumps(decision.as_json()))["winner"] is None


def test_results_that_do_not_fit_are_left_out_and_it_is_said():
    runs, fetched = drawn({"a": 0.95, "b": 0.9, "c": 0.85})
    fetched["id-b-23"] = results(fetched["id-b-23"].right, prefix="tulip/")
    fetched["id-c-47"] = results(np.ones(776))
    decision = decide(runs, THREE, fetched)
    assert [one.interval and one.interval.over for one in decision.standings] == [Over.BOTH, Over.SEEDS, Over.SEEDS]
    assert decision.remarks[0].startswith("net b: run b-s23 was judged on other pictures")
    assert decision.remarks[1].startswith(
        "net c: the pictures of run c-s47 give accuracy 1, its best_val_accuracy is 0.9"
    )


def test_hits_come_from_the_results_where_the_run_does_not_have_them():
    pairs = [judged(config, seed, np.arange(97) < hits) for config, hits in (("a", 90), ("b", 89)) for seed in SEEDS]
    bare = [run(one.config_id, one.seed, None, accuracy=one.accuracy, total=None) for one, _ in pairs]
    decision = decide(bare, THREE, {one.run_id: result for one, result in pairs})
    assert [(one.hits, one.total) for one in decision.standings] == [(270, 291), (267, 291)]


def test_the_order_of_runs_seeds_and_pictures_does_not_matter():
    runs, fetched = drawn({"a": 0.95, "b": 0.945, "c": 0.94}, pictures=300)
    runs.append(run("d", 11, status="FAILED"))
    expected = decide(runs, THREE, fetched)
    draw = random.Random(4)
    for _ in range(5):
        draw.shuffle(runs)
        mixed = {}
        for run_id, result in fetched.items():
            places = draw.sample(range(300), 300)
            mixed[run_id] = PictureResults(tuple(result.ids[place] for place in places), result.right[places])
        assert decide(runs, THREE, mixed) == expected
    turned = decide(runs, Scope(seeds=(47, 11, 23)), fetched)
    assert [one.interval for one in turned.standings] == [one.interval for one in expected.standings]
    assert turned.key == expected.key


def test_the_key_names_split_winner_and_its_runs_and_nothing_else():
    runs = [run(config, seed, 90 if config == "a" else 80) for config in "ab" for seed in SEEDS]
    key = decide(runs, THREE).key
    assert decide(runs[:3], THREE).key == key  # another field of losers
    assert decide([*runs[:2], run("a", 47, 90, run_id="again"), *runs[3:]], THREE).key != key
    assert decide(runs, Scope(seeds=(11, 23))).key != key
    assert decide([run(c, s, 90 if c == "b" else 80) for c in "ab" for s in SEEDS], THREE).key != key


def test_json_is_plain_and_has_no_nan():
    runs, fetched = drawn({"a": 0.95, "b": 0.94})
    runs.append(run("c", 11, accuracy=math.nan))
    found = json.loads(json.dumps(decide(runs, THREE, fetched).as_json(), allow_nan=False))
    assert found["ranking"][0]["config_id"] == found["winner"] == "a"
    assert [one["run_id"] for one in found["ranking"][0]["runs"]] == ["id-a-11", "id-a-23", "id-a-47"]
    assert found["comparison"]["decided_by"] == "mean accuracy"
    assert found["not_eligible"][0]["reasons"] == [
        "lacks seed 23, 47",
        "seed 11: run c-s11 (id-c-11) has best_val_accuracy nan",
    ]
    assert found["ranking"][1]["interval_95"].keys() == {"low", "high", "over", "seeds", "pictures"}
    assert found["chosen_run"]["hits"] == max(one["hits"] for one in found["ranking"][0]["runs"])


def test_a_decision_keeps_the_order_of_the_ranking_it_is_given():
    """It does not rank again: also an order that is not the rule's stays."""
    runs, fetched = drawn({"a": 0.95, "b": 0.9}, pictures=200)
    ranking = rank_runs(runs, THREE)
    second, first = ranking.standings
    given = replace(ranking, standings=(replace(first, place=1, ahead_by=Level.ACCURACY), replace(second, place=2)))
    decision = make_decision(given, fetched)
    assert [standing.configuration.config_id for standing in decision.standings] == ["b", "a"]
    assert decision.winner is not None
    assert decision.winner.configuration == first.configuration
