"""Which configurations may be ranked, and the reason in words for each that may not."""

import math
import random

import numpy as np
import pytest

from flowerml.errors import UserError
from flowerml.selection.candidates import Gathered, gather, several_digests
from flowerml.selection.records import CandidateRun, PictureResults, Scope
from tests.selection.samples import THREE, run

ONE = Scope(seeds=(11,))


def of_seeds(config: str, *seeds: int) -> list[CandidateRun]:
    return [run(config, seed) for seed in seeds]


def reasons(found: Gathered, config: str) -> str:
    return "; ".join(next(one.reasons for one in found.ineligible if one.config_id == config))


def test_a_configuration_with_a_finished_run_of_each_asked_seed_is_eligible():
    found = gather(of_seeds("a", 47, 11, 23), THREE)
    assert [(one.config_id, [r.seed for r in one.runs]) for one in found.eligible] == [("a", [11, 23, 47])]
    assert (found.ineligible, found.remarks) == ((), ())
    assert (found.data_digest, found.split_digest) == ("data-one", "split-one")


@pytest.mark.parametrize(
    ("seeds", "reason"), [((11, 47), "lacks seed 23"), ((23,), "lacks seed 11, 47"), ((5,), "lacks seed 11, 23, 47")]
)
def test_one_that_lacks_an_asked_seed_is_not(seeds, reason):
    found = gather([*of_seeds("a", *seeds), *of_seeds("b", 11, 23, 47)], THREE)
    assert [one.config_id for one in found.eligible] == ["b"]
    assert reasons(found, "a") == reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": "FAILED", "hits": None, "f1": None}, "seed 23: run a-s23 (id-a-23) is FAILED"),
        ({"status": "RUNNING"}, "seed 23: run a-s23 (id-a-23) is RUNNING"),
        ({"status": "KILLED"}, "seed 23: run a-s23 (id-a-23) is KILLED"),
        ({"accuracy": math.nan}, "seed 23: run a-s23 (id-a-23) has best_val_accuracy nan"),
        ({"accuracy": math.inf}, "seed 23: run a-s23 (id-a-23) has best_val_accuracy inf"),
        ({"accuracy": None}, "seed 23: run a-s23 (id-a-23) has no best_val_accuracy"),
        ({"f1": math.nan}, "seed 23: run a-s23 (id-a-23) has best_val_macro_f1 nan"),
        ({"f1": None}, "seed 23: run a-s23 (id-a-23) has no best_val_macro_f1"),
        ({"classes": 6}, "has 6 classes, not 5"),
    ],
)
def test_one_with_a_run_that_does_not_count_is_not(change, reason):
    found = gather([run("a", 11), run("a", 23, **change), run("a", 47), *of_seeds("b", 11, 23, 47)], THREE)
    assert [one.config_id for one in found.eligible] == ["b"]
    assert reasons(found, "a") == reason


def test_all_reasons_are_given():
    found = gather([run("a", 11, status="FAILED"), run("a", 23, f1=None), *of_seeds("b", 11, 23, 47)], THREE)
    assert (
        reasons(found, "a")
        == "lacks seed 47; seed 11: run a-s11 (id-a-11) is FAILED; seed 23: run a-s23 (id-a-23) has no"
        " best_val_macro_f1"
    )


def test_a_run_of_a_seed_that_was_not_asked_for_neither_counts_nor_harms():
    found = gather([*of_seeds("a", 11, 23, 47), run("a", 99, status="FAILED"), run("a", 5)], THREE)
    assert [r.seed for r in found.eligible[0].runs] == [11, 23, 47]
    assert found.remarks == ()


def test_of_two_finished_runs_of_a_seed_the_newest_counts_and_it_is_said():
    old, new = run(run_id="old-0000", started=1), run(hits=80, run_id="new-0000", started=2)
    for runs in ([old, new], [new, old]):
        found = gather(runs, ONE)
        assert found.eligible[0].runs == (new,)
        assert found.remarks == (
            "net a, seed 11: two FINISHED runs: the newest, a-s11 (new-0000), counts, not a-s11 (old-0000)",
        )


def test_finished_runs_of_two_campaigns_are_said_to_be_so():
    runs = [run(run_id="1", started=1, campaign="spring"), run(run_id="2", started=2)]
    assert "of another campaign (spring, none)" in gather(runs, ONE).remarks[0]
    alone = gather(runs, Scope(seeds=(11,), campaign="spring"))
    assert alone.eligible[0].runs == (runs[0],)
    assert alone.remarks == ()


@pytest.mark.parametrize("change", [{"status": "FAILED", "hits": None}, {"status": "RUNNING"}, {"accuracy": math.nan}])
def test_a_failed_try_that_was_repeated_is_a_remark(change):
    failed, repeated = run(run_id="first", started=1, **change), run(run_id="second", started=2)
    found = gather([repeated, failed], ONE)
    assert found.eligible[0].runs == (repeated,)
    assert len(found.remarks) == 1
    assert "was repeated: a-s11 (second) counts" in found.remarks[0]


@pytest.mark.parametrize("status", ["FAILED", "RUNNING"])
def test_a_finished_run_with_a_newer_one_that_is_not_is_not_eligible(status):
    found = gather([run(run_id="first", started=1), run(run_id="second", started=2, status=status)], ONE)
    assert found.eligible == ()
    assert (
        reasons(found, "a")
        == f"seed 11: run a-s11 (second) is {status}, and is newer than the FINISHED a-s11 (first): repeat or delete it"
    )


def test_only_kind_train_is_asked_for_and_trial_on_request():
    kinds = ["train", "smoke", "final", "trial", "eval", "select", "campaign", "launcher"]
    runs = [run(f"config-{kind}", kind=kind) for kind in kinds]
    assert [one.config_id for one in gather(runs, ONE).eligible] == ["config-train"]
    both = gather(runs, Scope(seeds=(11,), kinds=("train", "trial")))
    assert [one.config_id for one in both.eligible] == ["config-train", "config-trial"]
    with pytest.raises(UserError, match="only train is ranked"):
        Scope(kinds=("train", "final"))


def test_family_campaign_and_phase_restrict():
    runs = [run("a"), run("b", family="vit"), run("c", campaign="x", phase="B"), run("d", campaign="x", phase="C")]
    assert [one.config_id for one in gather(runs, Scope(seeds=(11,), family="vit")).eligible] == ["b"]
    assert [one.config_id for one in gather(runs, Scope(seeds=(11,), campaign="x")).eligible] == ["c", "d"]
    assert [one.config_id for one in gather(runs, Scope(seeds=(11,), phases=("C",))).eligible] == ["d"]
    with pytest.raises(UserError, match="no run of kind train of family relation"):
        gather(runs, Scope(family="relation"))


def test_several_digests_and_none_named_are_listed_with_counts():
    runs = [
        run("a", 11),
        run("a", 23),
        run("b", 11, status="FAILED"),
        run("c", data_digest="data-two", split_digest="split-two"),
    ]
    with pytest.raises(UserError) as caught:
        gather(runs, ONE)
    assert (
        str(caught.value)
        == "the runs are of 2 data and split digests, and only runs of one can be compared: name one with"
        " --split-digest (or --data-digest)\n  data data-one split split-on: 3 runs, 2 FINISHED\n  data data-two"
        " split split-tw: 1 run, 1 FINISHED"
    )


def test_a_list_of_digests_that_was_not_counted_to_the_end_says_so():
    runs = [*(run("a", seed) for seed in range(3)), run("b", split_digest="split-two"), run("c", split_digest="three")]
    assert str(several_digests(runs, counted=2, listed=2)).splitlines()[1:] == [
        "  data data-one split split-on: more than 2 runs",
        "  data data-one split split-tw: 1 run, 1 FINISHED",
        "  and others",
    ]
    assert "of more than 2 data and split digests" in str(several_digests(runs, counted=2, listed=2))
    assert "3 runs, 3 FINISHED" in str(several_digests(runs, counted=3, listed=3))


def test_a_digest_can_be_named_by_its_first_characters():
    runs = [run("a"), run("b", split_digest="split-two"), run("c", data_digest="data-two", split_digest="other")]
    assert [one.config_id for one in gather(runs, Scope(seeds=(11,), split_digest="split-t")).eligible] == ["b"]
    assert [one.config_id for one in gather(runs, Scope(seeds=(11,), data_digest="data-two")).eligible] == ["c"]
    with pytest.raises(UserError, match="2 data and split digests"):
        gather(runs, Scope(seeds=(11,), split_digest="split"))
    with pytest.raises(
        UserError, match="no run of kind train has the digests named; there are:\n  data data-one split"
    ):
        gather(runs, Scope(seeds=(11,), split_digest="nothing"))


def test_a_failed_try_on_another_folder_is_no_second_digest():
    found = gather([run("a"), run("b", status="FAILED", data_digest="wrong")], ONE)
    assert [one.config_id for one in found.eligible] == ["a"]
    assert found.ineligible == ()


def test_the_number_of_classes_is_the_one_named_or_that_of_most_runs():
    runs = [run("a", classes=6), run("b"), run("c")]
    assert [one.config_id for one in gather(runs, ONE).eligible] == ["b", "c"]
    found = gather(runs, Scope(seeds=(11,), classes=6))
    assert [one.config_id for one in found.eligible] == ["a"]
    assert reasons(found, "b") == "has 5 classes, not 6"
    with pytest.raises(UserError, match="as many runs have"):
        gather(runs[:2], ONE)


def test_the_order_of_the_runs_does_not_matter():
    draw = random.Random(3)
    statuses = ["FINISHED"] * 6 + ["FAILED", "RUNNING"]
    runs = [
        run(
            draw.choice("abcd"),
            draw.choice((11, 23)),
            run_id=f"r{number}",
            started=draw.randint(1, 4),
            status=draw.choice(statuses),
        )
        for number in range(30)
    ]
    expected = gather(runs, Scope(seeds=(11, 23)))
    for _ in range(30):
        draw.shuffle(runs)
        assert gather(runs, Scope(seeds=(11, 23))) == expected


@pytest.mark.parametrize("seeds", [(), (11, 11)])
def test_seeds_are_asked_for_once_each(seeds):
    with pytest.raises(UserError, match="none twice"):
        Scope(seeds=seeds)


def test_hits_are_counted_where_the_accuracy_is_a_whole_number_of_pictures():
    bare = run(hits=None, accuracy=730 / 776, total=None)
    assert (bare.with_hits(776).hits, bare.with_hits(776).total) == (730, 776)
    assert bare.with_hits(777).hits is None
    for accuracy in (None, math.nan):
        assert run(hits=None, accuracy=accuracy).with_hits(776).hits is None
    for total in (1, 3, 7, 97, 776, 4409):
        assert [run(accuracy=hits / total).with_hits(total).hits for hits in range(total + 1)] == list(range(total + 1))


def test_per_picture_results_are_whole():
    made = PictureResults.from_columns(["a", "b", "c"], ["rose", "tulip", "rose"], ["rose", "rose", "rose"])
    assert (made.ids, made.right.tolist(), made.accuracy) == (("a", "b", "c"), [True, False, True], 2 / 3)
    with pytest.raises(UserError, match="a picture twice"):
        PictureResults(("a", "a"), np.array([True, False]))
    with pytest.raises(UserError, match="one value per picture"):
        PictureResults(("a", "b"), np.array([True]))
    with pytest.raises(UserError, match="not whole"):
        PictureResults.from_columns(["a", "b"], ["rose"], ["rose"])


def test_a_trial_that_a_sweep_ended_early_is_not_ranked_and_harms_nothing():
    """Its few epochs are no measure of its configuration, even where they are the newest and the best."""
    cut = run("a", 11, hits=99, kind="trial", pruned=True, started=9_999_999_999_999)
    found = gather(
        [cut, run("b", 11, kind="trial", pruned=True), run("a", 11, hits=90)],
        Scope(seeds=(11,), kinds=("train", "trial")),
    )
    assert [(one.config_id, [r.hits for r in one.runs]) for one in found.eligible] == [("a", [90])]
    assert found.ineligible == ()
    assert found.remarks == ("2 trials ended early by a sweep: not ranked",)
