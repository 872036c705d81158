"""The shipped ablations of recipes, and the base that a phase's gains are over."""

import pytest

from flowerml.campaign.plan.parser import read_plan
from flowerml.campaign.state.promotion import decision_scope
from flowerml.errors import UserError
from flowerml.settings import Family, resolve
from tests.campaign.plans import SMALL, changed, plan_of

SETTINGS = {
    "CROP_SMALLER": {"crop_scale": 0.08},
    "CROP_LARGER": {"crop_scale": 0.6},
    "UNMIXED": {"unmixed_epochs": 5},
    "JITTER": {"color_jitter": 0.4},
    "TRIVIAL": {"trivialaugment": True, "randaugment": 0},
    "SAM": {"sam_rho": 0.05},
    "LAYER_DECAY": {"llrd": 0.8},
}
CPU = ("model=timm:mobilenetv2_100", "img_size=160", "epochs=12")
BY_ACCURACY = "select: {top: 2, by: val_accuracy, then: [macro_f1, variance]}"


def configurations(plan):
    found = {}
    for run in plan.runs:
        found.setdefault(run.config_name, []).append(run)
    return found


@pytest.mark.parametrize("overrides", [(), CPU], ids=["as shipped", "on a CPU"])
def test_each_setting_alone_on_three_seeds(overrides):
    plan = read_plan("ablation_recipe", overrides)
    found = configurations(plan)
    assert list(found) == ["BASE", *SETTINGS]
    assert all([run.seed for run in runs] == [11, 23, 47] for runs in found.values())
    assert {run.family for run in plan.runs} == {Family.CNN}
    base = found["BASE"][0].settings
    for name, changes in SETTINGS.items():
        assert found[name][0].settings == base.replace(**changes), name
    assert plan.phase("A").select.base == "BASE"
    assert plan.warnings == ()


def test_the_base_is_the_familys_recipe_without_early_stopping():
    plan, recipe = read_plan("ablation_recipe"), resolve({"model": "convnextv2_tiny"})[0]
    assert configurations(plan)["BASE"][0].settings == recipe.replace(epochs=30, warmup_epochs=3, patience=0)


def test_a_short_one_shortens_the_unmixed_epochs_too():
    plan = read_plan("ablation_recipe", (*CPU[:2], "epochs=3"))
    assert configurations(plan)["UNMIXED"][0].settings.unmixed_epochs == 3
    [warning] = plan.warnings
    assert warning.startswith("unmixed_epochs 5 is longer than the run with these overrides: 3 is used (UNMIXED_seed11")


def test_what_overrides_make_the_same_is_left_out_and_the_base_stays():
    plan = read_plan("ablation_recipe", ("llrd=0.8",))
    assert list(configurations(plan)) == ["BASE", *SETTINGS][:-1]


def test_clip_has_the_recipe_of_the_plan_of_24_runs_against_the_published_one():
    plan = read_plan("clip_finetune")
    found = configurations(plan)
    assert all([run.seed for run in runs] == [11, 23, 47] for runs in found.values())
    base = found["RECIPE"][0].settings
    assert base == read_plan("tp3").phase("D").runs[0].settings
    published = {"weight_decay": 0.05, "warmup_epochs": 5, "freeze_backbone_epochs": 0}
    assert {name: runs[0].settings for name, runs in found.items()} == {
        "RECIPE": base,
        "NO_MIXING": base.replace(mixup=0, cutmix=0),
        "LAYER_DECAY": base.replace(llrd=0.65),
        "PUBLISHED": base.replace(mixup=0, cutmix=0, llrd=0.65, **published),
        "LORA": base.replace(lora_rank=8, lr_backbone=3e-4, llrd=1.0),
    }
    assert plan.warnings == ()


@pytest.mark.parametrize(
    ("name", "base"), [("ablation_recipe", "BASE"), ("relations_ablation", "BASE"), ("clip_finetune", "RECIPE")]
)
def test_the_decision_is_asked_for_gains_over_the_base(name, base):
    plan = read_plan(name)
    assert plan.phase("A").select.base == base
    assert decision_scope(plan, plan.phase("A"), "one").base_order == 1


def test_a_base_is_any_configuration_of_the_phase_and_changes_no_digest():
    text = changed(BY_ACCURACY, BY_ACCURACY.replace("}", ", base: B2}"))
    plan = plan_of(text)
    assert decision_scope(plan, plan.phase("B"), "one").base_order == plan.run("B2").order == 4
    assert plan.digest == plan_of(SMALL).digest
    assert decision_scope(plan, plan.phase("C"), "one").base_order is None


@pytest.mark.parametrize(
    ("old", "base", "says"),
    [
        (BY_ACCURACY, "B4", r"phases\.B\.select\.base is 'B4'.* Allowed: B1, B2, B3"),
        ("    runs: [C1, C2, C3, C4]\n    select: {top: 1, by: val_accuracy}", "C1", "phase C follows another one"),
    ],
)
def test_a_base_that_is_none_is_refused_with_its_line(old, base, says):
    with pytest.raises(UserError, match=says) as caught:
        plan_of(changed(old, old.replace("}", f", base: {base}}}")))
    assert str(caught.value).startswith("plan.yaml, line ")
    assert "\n" not in str(caught.value)
