"""Who holds the alias `champion` after a decision: compared within one split digest, and never given to a worse one
unasked.
"""

import pytest

from flowerml.selection.decision import Decision
from flowerml.selection.rank import rank_configurations
from flowerml.selection.records import Rule, Scope
from flowerml.selection.registration import AliasAction, Champion, candidate, champion_in_turn, compare_with_champion
from tests.selection.samples import decide, run

SEEDS = (11, 23, 47)


def decision(config: str, *hits: int, f1: float = 0.5, split: str = "split-one") -> Decision:
    runs = [run(config, seed, count, f1, split_digest=split) for seed, count in zip(SEEDS, hits, strict=False)]
    return decide(runs, Scope(seeds=SEEDS[: len(hits)]))


def champion(chosen: Decision, **other: object) -> Champion:
    """The record that registering this decision would have left."""
    winner = rank_configurations([chosen.standings[0].configuration])[0]
    values = {
        "version": "3",
        "key": chosen.key,
        "config_id": winner.configuration.config_id,
        "split_digest": chosen.split_digest,
        "seeds": tuple(each.seed for each in winner.configuration.runs),
        "mean": winner.accuracy.mean,
        "hits": winner.hits,
        "total": winner.total,
        "macro_f1": winner.macro_f1.mean,
        "deviation": winner.accuracy.deviation,
        **other,
    }
    return Champion(**values)


OLD = decision("old", 90, 91, 92)  # 273 of 300, deviation 0.01


def test_the_first_decision_takes_the_alias():
    found = compare_with_champion(OLD, None)
    assert (found.action, found.takes_alias) == (AliasAction.FIRST, True)
    assert found.words == "net old is the first champion."


def test_the_same_decision_again_is_nothing_to_do_even_by_force():
    for force in (False, True):
        found = compare_with_champion(OLD, champion(OLD), force=force)
        assert (found.action, found.takes_alias) == (AliasAction.SAME, False)
        assert found.words == "The decision is that of the champion, version 3 (old): nothing to do."


@pytest.mark.parametrize(
    ("old", "new", "action"),
    [
        (False, True, AliasAction.RETRAINED),
        (True, False, AliasAction.SAME),
        (True, True, AliasAction.SAME),
        (False, False, AliasAction.SAME),
    ],
)
def test_retrained_weights_replace_the_best_seeds_and_never_the_other_way_round(old, new, action):
    assert compare_with_champion(OLD, champion(OLD, retrained=old), retrained=new).action is action


@pytest.mark.parametrize(
    ("hits", "f1", "action", "words"),
    [
        ((90, 91, 93), 0.1, AliasAction.BETTER, "mean accuracy 0.9133 against 0.9100 (274 against 273 hits of 300)"),
        ((90, 91, 91), 0.9, AliasAction.KEEP, "mean accuracy 0.9067 against 0.9100 (272 against 273 hits of 300)"),
        ((88, 91, 94), 0.6, AliasAction.BETTER, "equal in mean accuracy (0.9100); mean macro-F1 0.6 against 0.5"),
        ((91, 91, 91), 0.4, AliasAction.KEEP, "mean macro-F1 0.4 against 0.5"),
        (
            (91, 91, 91),
            0.5 + 5e-10,
            AliasAction.BETTER,
            "and macro-F1; standard deviation between seeds 0.000000 against 0.010000",
        ),
        ((89, 91, 93), 0.5, AliasAction.KEEP, "standard deviation between seeds 0.020000 against 0.010000"),
        ((92, 91, 90), 0.5, AliasAction.KEEP, "in all else that the rule looks at"),
    ],
)
def test_within_a_split_the_rule_decides_and_equal_is_no_reason_to_change(hits, f1, action, words):
    new = decision("new", *hits, f1=f1)
    found = compare_with_champion(new, champion(OLD))
    assert (found.action, found.takes_alias) == (action, action is AliasAction.BETTER)
    assert words in found.words
    forced = compare_with_champion(new, champion(OLD), force=True)
    assert forced.action is (AliasAction.BETTER if action is AliasAction.BETTER else AliasAction.FORCED)
    assert forced.takes_alias
    without_hits = compare_with_champion(new, champion(OLD, hits=None, total=None))
    assert without_hits.action is action


def by_recall(config: str, recall: float, *hits: int, f1: float = 0.5) -> Decision:
    runs = [
        run(config, seed, count, f1, mean_recall=recall) for seed, count in zip(SEEDS, hits or (90,) * 3, strict=True)
    ]
    return decide(runs, Scope(seeds=SEEDS, rule=Rule.MEAN_RECALL))


@pytest.mark.parametrize(
    ("new", "action", "words"),
    [
        (by_recall("new", 0.7, 80, 80, 80), AliasAction.BETTER, "mean recall 0.7000 against 0.6000"),
        (by_recall("new", 0.5, 99, 99, 99), AliasAction.KEEP, "mean recall 0.5000 against 0.6000"),
        (by_recall("new", 0.6, f1=0.6), AliasAction.BETTER, "equal in mean recall (0.6000); mean macro-F1 0.6 against"),
        (
            decision("new", 99, 99, 99),
            AliasAction.KEEP,
            "it was chosen by val_mean_recall, and the new one by val_accuracy",
        ),
    ],
)
def test_a_champion_by_mean_recall_is_compared_by_mean_recall(new, action, words):
    found = compare_with_champion(new, candidate(by_recall("old", 0.6), "3"))
    assert found.action is action
    assert words in found.words


def test_what_keeps_the_alias_says_how_to_give_it_away():
    found = compare_with_champion(decision("new", 80, 80, 80), champion(OLD))
    assert (
        found.words
        == "The champion, version 3 (old), keeps the alias: mean accuracy 0.8000 against 0.9100 (240 against 273 hits"
        " of 300). Only force gives it away on this split."
    )
    assert (
        "because forced, not better"
        in compare_with_champion(decision("new", 80, 80, 80), champion(OLD), force=True).words
    )


def test_another_split_takes_the_alias_and_says_that_they_can_not_be_compared():
    """A demo's accuracy of 1.0 does not keep real photos from being champion, nor the other way round."""
    demo, real = decision("demo", 100, 100, 100, split="drawn"), decision("real", 93, 94, 95, split="photos")
    for new, old in ((real, demo), (demo, real)):
        found = compare_with_champion(new, champion(old))
        assert (found.action, found.takes_alias) == (AliasAction.OTHER_SPLIT, True)
        assert "becomes previous" in found.words
        assert "can't be compared" in found.words


def test_a_champion_over_other_seeds_is_compared_by_its_mean_and_it_is_said():
    lucky = champion(decision("old", 93))
    found = compare_with_champion(decision("old", 93, 91, 91), lucky)
    assert found.action is AliasAction.KEEP
    assert "of the same configuration" in found.words
    assert "mean accuracy 0.9167 against 0.9300, over seeds 11, 23, 47 against 11" in found.words
    assert compare_with_champion(decision("new", 94, 93, 93), lucky).action is AliasAction.BETTER


def test_a_champion_whose_macro_f1_is_not_known_keeps_a_tie():
    found = compare_with_champion(decision("new", 92, 91, 90, f1=0.9), champion(OLD, macro_f1=None))
    assert found.action is AliasAction.KEEP
    assert "the champion's macro-F1 is not known" in found.words


class TestVersionsRegisteredAtTheSameTime:
    NEW = champion(decision("new", 92, 92, 92), version="4")
    BEST = champion(decision("best", 93, 93, 93), version="5")

    @pytest.mark.parametrize("before", [None, champion(OLD)])
    def test_the_best_has_the_alias_in_whatever_order_they_are_listed(self, before):
        assert champion_in_turn(before, [self.NEW, self.BEST]) == champion_in_turn(before, [self.BEST, self.NEW])
        assert champion_in_turn(before, [self.BEST, self.NEW]) == self.BEST

    def test_one_that_is_no_better_leaves_it_where_it_was(self):
        before = champion(decision("champion", 99, 99, 99))
        assert champion_in_turn(before, [self.NEW, self.BEST]) == before

    def test_equal_ones_leave_it_with_the_first(self):
        equal = champion(decision("equal", 93, 93, 93), version="6")
        assert champion_in_turn(None, [equal, self.BEST]) == self.BEST

    def test_of_several_splits_the_last_has_it_and_a_forced_one_keeps_it(self):
        other = champion(decision("other", 50, 50, 50, split="split-two"), version="6")
        assert champion_in_turn(champion(OLD), [other, self.BEST]) == other
        worse = champion(decision("worse", 10, 10, 10), version="7")
        assert champion_in_turn(champion(OLD), [self.BEST, worse], forced="7") == worse
