"""From decisions to the configurations that go on, and the settings of the runs that follow."""

import pytest

from flowerml.campaign.plan.model import identity_settings
from flowerml.campaign.plan.parser import read_plan
from flowerml.campaign.state.promotion import PromotedConfig, decision_scope, promote, resolve_settings, rounded_mean
from flowerml.errors import UserError
from flowerml.selection.records import Rule
from tests.campaign.plans import SMALL, changed, plan_of
from tests.selection.samples import decide, run

PLAN = plan_of(SMALL)


def trained(plan, name, config, hits, **other):
    """What the tracking server says of a run of the plan."""
    planned = plan.run(name)
    values = {"best_epoch": 2, "family": planned.family.value, "model": "net", "campaign": "c", **other}
    return run(config, planned.seed, hits, run_name=name, phase=planned.phase, plan_order=planned.order, **values)


def decided(plan, phase, runs, choices=None):
    decision = decide(runs, decision_scope(plan, plan.phase(phase), "c"))
    return promote(plan, plan.phase(phase), decision, choices or {})


B = [trained(PLAN, "B1", "one", 80), trained(PLAN, "B2", "two", 90), trained(PLAN, "B3", "three", 85)]
TOP = {"B": decided(PLAN, "B", B)}


def test_the_scope_is_the_phases_own_runs_and_those_it_confirms():
    plan = read_plan("tp3")
    b, c, e = (decision_scope(plan, plan.phase(name), "mine") for name in "BCE")
    assert (b.seeds, b.phases, b.family, b.campaign, b.kinds) == ((11,), ("B",), "cnn", "mine", ("train",))
    assert (c.seeds, c.phases, c.family) == ((11, 23, 47), ("B", "C"), "cnn")
    assert (e.seeds, e.phases, e.family) == ((11, 23, 47), ("D", "E"), "vit")
    assert decision_scope(read_plan("tp3_reduced"), plan.phase("C"), "mine").seeds == (11, 23, 47)
    reduced = read_plan("tp3_reduced")
    assert decision_scope(reduced, reduced.phase("C"), "mine").seeds == (11, 23)


def test_a_phase_may_choose_by_mean_recall():
    """Its scope, the promoted configurations, and the run whose seed is the best; another plan, so another digest."""
    plan = plan_of(SMALL.replace("val_accuracy", "val_mean_recall"))
    assert decision_scope(plan, plan.phase("B"), "c").rule is Rule.MEAN_RECALL
    assert decision_scope(PLAN, PLAN.phase("B"), "c").rule is Rule.ACCURACY
    assert plan.digest != PLAN.digest
    recalls = {"B1": ("one", 80, 0.9), "B2": ("two", 90, 0.6), "B3": ("three", 85, 0.7)}
    runs = [trained(plan, name, config, hits, mean_recall=recall) for name, (config, hits, recall) in recalls.items()]
    assert [choice.name for choice in decided(plan, "B", runs)] == ["B1", "B3"]


def test_a_changed_configuration_is_ranked_by_its_own_runs():
    plan = read_plan("tp3_336")
    assert (decision_scope(plan, plan.phase("G"), "c").phases, decision_scope(plan, plan.phase("G"), "c").seeds) == (
        ("G",),
        (11, 23, 47),
    )


def test_the_best_go_on_in_order():
    assert [choice.name for choice in TOP["B"]] == ["B2", "B3"]
    assert TOP["B"][0].settings == PLAN.run("B2").settings
    assert TOP["B"][0].best_run_id == "id-two-11"


def test_a_tie_goes_to_the_plans_order():
    runs = [trained(PLAN, "B3", "a", 90), trained(PLAN, "B2", "b", 90), trained(PLAN, "B1", "c", 90)]
    assert [choice.name for choice in decided(PLAN, "B", runs)] == ["B1", "B2"]


def test_confirming_runs_are_the_chosen_configurations_on_other_seeds():
    expected = [("C1", "B2", 23), ("C2", "B2", 47), ("C3", "B3", 23), ("C4", "B3", 47)]
    for name, config, seed in expected:
        settings = resolve_settings(PLAN, PLAN.run(name), TOP)
        assert settings == PLAN.run(config).settings.replace(seed=seed)


def test_the_confirmed_winner_may_be_the_second():
    """Judged by the mean over its three seeds; what was not confirmed can't win."""
    c = [
        *B,
        trained(PLAN, "C1", "two", 70, best_epoch=3),
        trained(PLAN, "C2", "two", 70, best_epoch=3),
        trained(PLAN, "C3", "three", 88, best_epoch=3),
        trained(PLAN, "C4", "three", 88, best_epoch=2),
    ]
    (winner,) = decided(PLAN, "C", c, TOP)
    assert winner.name == "B3"
    assert winner.best_run == "C3"  # 88 hits, and the smaller seed of two
    assert winner.stop_epoch == 2  # (2 + 3 + 2) / 3 = 2.33


@pytest.mark.parametrize(
    ("epochs", "mean"),
    [([2, 3], 3), ([2, 2, 3], 2), ([2, 3, 3], 3), ([1], 1), ([1, 2, 1, 2], 2), ([44, 45, 45], 45), ([7, 8, 9, 9], 8)],
)
def test_mean_epochs_are_rounded_half_up(epochs, mean):
    """8.25 is 8, 2.5 is 3."""
    assert rounded_mean(epochs) == mean


def test_a_final_model_has_all_pictures_and_the_schedule_of_its_configuration():
    choice = PromotedConfig("B3", PLAN.run("B3").settings.replace(seed=47), 2, "C3", "id", 23)
    settings = resolve_settings(PLAN, PLAN.run("F1"), {"C": (choice,)})
    assert (settings.val_split, settings.seed, settings.stop_epoch, settings.patience) == (0.0, 11, 2, 0)
    base, final = identity_settings(PLAN.run("B3").settings), identity_settings(settings)
    assert {name for name in final if final[name] != base[name]} == {"val_split", "stop_epoch", "patience"}
    assert settings.epochs == 3


def test_no_more_epochs_than_the_schedule_has():
    choice = PromotedConfig("B3", PLAN.run("B3").settings, 9, "C3", "id", 23)
    assert resolve_settings(PLAN, PLAN.run("F1"), {"C": (choice,)}).stop_epoch == 3


def test_a_model_that_is_kept_has_the_seed_of_the_run_it_is_of():
    plan = plan_of(SMALL, "final.mode=keep_best")
    choice = PromotedConfig("B3", PLAN.run("B3").settings, 2, "C3", "id", 23)
    assert resolve_settings(plan, plan.run("F1"), {"C": (choice,)}) == PLAN.run("B3").settings.replace(seed=23)


def test_a_confirming_run_may_change_a_setting():
    plan = plan_of(changed("seeds: [23, 47]}", "seeds: [23, 47], with: {img_size: 64}}"))
    settings = resolve_settings(plan, plan.run("C1"), TOP)
    assert (settings.img_size, settings.seed) == (64, 23)


def test_a_change_that_does_not_fit_says_where():
    plan = plan_of(changed("seeds: [23, 47]}", "seeds: [23, 47], with: {img_size: 20}}"))
    with pytest.raises(UserError, match="line 23: run C1: --img-size 20 does not fit convnextv2_atto"):
        resolve_settings(plan, plan.run("C1"), TOP)


def test_a_failed_run_leaves_its_configuration_out_and_too_few_stop_the_campaign():
    runs = [B[0], trained(PLAN, "B2", "two", None, status="FAILED"), B[2]]
    assert [choice.name for choice in decided(PLAN, "B", runs)] == ["B3", "B1"]
    runs[2] = trained(PLAN, "B3", "three", None, status="FAILED")
    with pytest.raises(UserError, match="phase B is to choose 2, and 1 of its configurations can be ranked") as caught:
        decided(PLAN, "B", runs)
    assert "run B3 (id-three) is FAILED" in str(caught.value)
