"""Selection over the folds of a cross-validation: a run of every fold counts, and every picture once."""

import numpy as np
import pytest

from flowerml.selection.candidates import gather
from flowerml.selection.rank import rank_runs
from flowerml.selection.records import PictureResults, Scope
from flowerml.selection.table import column_names, ranking_csv
from tests.selection.samples import decide, results, run

ONE = Scope(seeds=(11,))
SIZES = (100, 101, 99)  # folds of one assignment differ in size


def folds_of(config, hits, seed=11, **other):
    """A run for each fold, and what each got right, picture by picture."""
    runs, fetched = [], {}
    for fold, (count, size) in enumerate(zip(hits, SIZES, strict=True), start=1):
        one = run(
            config,
            seed,
            count,
            run_id=f"{config}-{seed}-f{fold}",
            accuracy=count / size,
            total=size,
            fold=fold,
            folds=len(SIZES),
            **other,
        )
        runs.append(one)
        fetched[one.run_id] = results(np.arange(size) < count, prefix=f"rose/f{fold}-")
    return runs, fetched


def decided(*configurations, scope=ONE):
    runs = [one for runs, _ in configurations for one in runs]
    fetched = {name: result for _, results in configurations for name, result in results.items()}
    return decide(runs, scope, fetched, resamples=500)


def test_a_configuration_that_lacks_a_fold_is_not_eligible():
    (runs, _), (others, _) = folds_of("a", (90, 91, 92)), folds_of("b", (80, 81, 82))
    found = gather([*runs, *others[:1], *others[2:]], ONE)
    assert [one.config_id for one in found.eligible] == ["a"]
    assert found.ineligible[0].reasons == ("lacks fold 2 of seed 11",)


def test_folds_are_not_taken_for_repetitions_of_one_seed():
    runs, _ = folds_of("a", (90, 91, 92))
    found = gather(runs, ONE)
    assert found.eligible[0].runs == tuple(runs)
    assert not found.remarks


def test_a_repeated_fold_counts_once_and_the_newest():
    runs, _ = folds_of("a", (90, 91, 92))
    again = run("a", 11, 70, run_id="again", accuracy=70 / 101, total=101, fold=2, folds=3, started=2000)
    found = gather([*runs, again], ONE)
    assert [one.run_id for one in found.eligible[0].runs] == ["a-11-f1", "again", "a-11-f3"]
    assert "seed 11, fold 2" in found.remarks[0]


def test_the_rank_is_by_hits_of_all_pictures():
    """As many pictures for each configuration: 273 hits win over 272, whatever the folds' own shares."""
    few, many = folds_of("a", (90, 90, 92)), folds_of("b", (91, 92, 90))
    ranking = rank_runs([*few[0], *many[0]], ONE)
    assert [one.configuration.config_id for one in ranking.standings] == ["b", "a"]
    assert [(one.hits, one.total) for one in ranking.standings] == [(273, 300), (272, 300)]


def test_the_interval_is_over_every_picture_once():
    """Three times the pictures: the interval of all folds is narrower than one fold's by about the root of three."""
    all_folds = decided(folds_of("a", (80, 81, 79))).standings[0].interval
    single = (
        decide([run("a", 11, 80)], ONE, {"id-a-11": results(np.arange(100) < 80)}, resamples=2000).standings[0].interval
    )
    assert (single.high - single.low) / (all_folds.high - all_folds.low) == pytest.approx(3**0.5, rel=0.25)


def test_two_configurations_are_compared_picture_by_picture():
    decision = decided(folds_of("a", (95, 96, 94)), folds_of("b", (80, 81, 79)))
    assert decision.comparison.separated
    assert "over 3 folds with seed 11" in decision.sentences[0]
    assert "285 hits of 300" in decision.sentences[0]
    assert "best fold is" in decision.words
    assert not decision.remarks


def test_folds_of_two_seeds_give_a_row_per_seed():
    one, other = folds_of("a", (90, 91, 92)), folds_of("a", (88, 89, 90), seed=23)
    decision = decided(one, other, scope=Scope(seeds=(11, 23)))
    assert decision.standings[0].accuracy.n == 6
    assert "over 3 folds with seeds 11, 23" in decision.sentences[0]
    assert "pictures and seeds" in str(decision.standings[0].interval.over)


def test_a_picture_in_two_folds_is_told_and_in_no_interval():
    runs, fetched = folds_of("a", (90, 91, 92))
    fetched["a-11-f2"] = results(np.arange(101) < 91, prefix="rose/f1-")
    decision = decide(runs, ONE, fetched, resamples=200)
    assert "name a picture twice" in decision.remarks[0]


def test_the_tables_name_the_folds():
    decision = decided(folds_of("a", (90, 91, 92)))
    assert column_names(decision)[-1] == "3 folds with seed 11"
    head, row = ranking_csv(decision).splitlines()
    assert head.endswith("accuracy_s11_f1,accuracy_s11_f2,accuracy_s11_f3,run_s11_f1,run_s11_f2,run_s11_f3")
    assert len(head.split(",")) == len(row.split(","))


def test_joined_results_keep_their_order_and_refuse_a_picture_twice():
    parts = [PictureResults(("a", "b"), np.array([True, False])), PictureResults(("c",), np.array([True]))]
    joined = PictureResults.join(parts)
    assert joined.ids == ("a", "b", "c")
    assert joined.right.tolist() == [True, False, True]
