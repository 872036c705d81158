"""Whatever is wrong with a plan is refused with file, line and remedy; what is odd and allowed is a warning."""

import pytest

from flowerml.campaign.plan.parser import read_plan
from flowerml.errors import UserError
from tests.campaign.plans import SMALL, changed, plan_of

# What is changed in SMALL, and what the one line must say.
REFUSED = {
    "unknown key of the plan": ("budget:", "budgets:", ["line 34", "'budgets' is unknown", "Did you mean budget?"]),
    "unknown key of a phase": (
        "    smoke: true",
        "    smok: true",
        ["line 10", "'smok' is unknown in phases.A", "Did you mean smoke?"],
    ),
    "unknown key of select": (
        "top: 1, by: val_accuracy}\n  D",
        "top: 1, bye: val_accuracy}\n  D",
        ["'bye' is unknown", "Did you mean by?"],
    ),
    "unknown setting": (
        "B1: {lr_head: 1e-3}",
        "B1: {lr_haed: 1e-3}",
        ["line 17", "setting 'lr_haed' is unknown", "Did you mean lr_head?"],
    ),
    "unknown setting of all": ("{weights: none,", "{weigths: none,", ["line 4", "'weigths'", "Did you mean weights?"]),
    "unknown setting of a family": (
        "atto, img_size: 32}",
        "atto, imgsize: 32}",
        ["line 6", "'imgsize'", "Did you mean img_size?"],
    ),
    "value out of range": (
        "B1: {lr_head: 1e-3}",
        "B1: {lr_head: 30}",
        ["line 17", "lr_head is '30'", "Allowed: number, > 0, <= 10"],
    ),
    "value of another type": (
        "B1: {lr_head: 1e-3}",
        "B1: {epochs: many}",
        ["line 17", "epochs is 'many'", "whole number"],
    ),
    "unknown model": (
        "atto, img_size: 32}",
        "ato, img_size: 32}",
        ["line 6", "model 'convnextv2_ato' is unknown", "convnextv2_atto"],
    ),
    "model of another family": (
        "convnextv2_atto, img_size: 32}",
        "clip_vits32, img_size: 32}",
        ["line 12", "model clip_vits32 is of family vit", "cnn"],
    ),
    "unknown family": ("    family: vit\n", "    family: vitt\n", ["line 26", "'vitt'", "Did you mean vit?"]),
    "no family": ("    family: vit\n", "", ["D1 has no family", "add"]),
    "freeze longer than the run": (
        "B1: {lr_head: 1e-3}",
        "B1: {freeze_backbone_epochs: 9}",
        ["line 17", "run B1", "--freeze-backbone-epochs 9 is longer"],
    ),
    "one configuration twice": (
        "B2: {lr_head: 2e-3}",
        "B2: {lr_head: 0.001}",
        ["line 18", "B2 and B1 (line 17)", "one configuration and seed"],
    ),
    "one smoke test twice": (
        "A2: {family: vit, epochs: 1}",
        "A2: {family: cnn, epochs: 1}",
        ["line 13", "A2 and A1 (line 12)"],
    ),
    "one name twice": ("B2: {lr_head: 2e-3}", "B1: {lr_head: 2e-3}", ["line 18", "B1 stands there twice", "line 17"]),
    "one name in two phases": (
        "runs: [C1, C2, C3, C4]",
        "runs: [B1, C2, C3, C4]",
        ["line 23", "B1 is the name of the run in line 17 already"],
    ),
    "a name that is no folder": ("B1: {lr_head: 1e-3}", "b/1: {lr_head: 1e-3}", ["line 17", "can't name a folder"]),
    "a later phase": (
        "confirm: {of: B,",
        "confirm: {of: D,",
        ["line 22", "phase C follows 'D', which is no phase before it", "A, B"],
    ),
    "an unknown phase": ("of: [C, D]", "of: [C, X]", ["line 32", "'X'"]),
    "the phase itself": ("confirm: {of: B,", "confirm: {of: C,", ["line 22", "which is no phase before it"]),
    "a phase that chooses nothing": (
        "confirm: {of: B,",
        "confirm: {of: A,",
        ["line 22", "phase A chooses nothing", "select"],
    ),
    "more than there are": ("{top: 2, by", "{top: 4, by", ["line 20", "top is 4, and phase B has 3 configurations"]),
    "more chosen than confirmed": (
        "seeds: [23, 47]}\n    runs: [C1, C2, C3, C4]\n    select: {top: 1",
        "seeds: [23, 47]}\n    runs: [C1, C2, C3, C4]\n    select: {top: 3",
        ["line 24", "top is 3, and phase C has 2 configurations"],
    ),
    "a name too few": (
        "[C1, C2, C3, C4]",
        "[C1, C2, C3]",
        ["line 23", "3 names and 4 runs (2 configurations on 2 seeds)"],
    ),
    "a seed that was run": (
        "seeds: [23, 47]",
        "seeds: [11, 47]",
        ["line 22", "seed 11 of these configurations is run before phase C already"],
    ),
    "a seed twice": ("seeds: [23, 47]", "seeds: [23, 23]", ["line 22", "none twice"]),
    "several seeds to choose on": (
        "B2: {lr_head: 2e-3}",
        "B2: {lr_head: 2e-3, seed: 23}",
        ["phase B has seeds 11, 23", "confirm", "`seeds`"],
    ),
    "a seed twice in a phase": (
        "  B:\n    family: cnn",
        "  B:\n    seeds: [11, 11]\n    family: cnn",
        ["line 15", "none twice"],
    ),
    "a seed of a run beside those of its phase": (
        "    family: cnn\n    runs:\n      B1: {lr_head: 1e-3}",
        "    family: cnn\n    seeds: [11, 23]\n    runs:\n      B1: {lr_head: 1e-3, seed: 47}",
        ["line 18", "run B1 has a seed, and phase B has seeds"],
    ),
    "seeds of a phase that follows": (
        "    confirm: {of: B,",
        "    seeds: [5]\n    confirm: {of: B,",
        ["line 22", "phase C takes its seeds from the phases it follows"],
    ),
    "twins that are neither": ("  B:\n", "  B:\n    twins: drop\n", ["line 15", "twins is 'drop'", "stop, skip"]),
    "another rule": (
        "then: [macro_f1, variance]",
        "then: [variance, macro_f1]",
        ["line 20", "Allowed: [macro_f1, variance]"],
    ),
    "another measure": (
        "by: val_accuracy, then",
        "by: val_loss, then",
        ["line 20", "by is 'val_loss'", "val_accuracy"],
    ),
    "unknown mode": ("mode: retrain", "mode: retrained", ["line 32", "'retrained'", "Did you mean retrain?"]),
    "plateau without validation": (
        "B1: {lr_head: 1e-3}",
        "B1: {scheduler: plateau}",
        ["line 32", "B1 has scheduler plateau", "keep_best"],
    ),
    "two of one family": ("of: [C, D]", "of: [B, C]", ["line 32", "two phases of one family"]),
    "two kinds of phase": (
        "    confirm: {of: B,",
        "    smoke: true\n    confirm: {of: B,",
        ["phase C is smoke and confirm"],
    ),
    "nothing to be judged by": ("B1: {lr_head: 1e-3}", "B1: {val_split: 0}", ["line 17", "B1 has val_split 0"]),
    "two splits": ("B1: {lr_head: 1e-3}", "B1: {split_seed: 5}", ["different splits"]),
    "what the command says": (
        "{weights: none,",
        "{train_dir: data, weights: none,",
        ["line 4", "train_dir has no place in a plan", "--train-dir"],
    ),
    "more runs than the budget": ("runs: 24", "runs: 5", ["line 34", "the plan has 13 runs, and its budget is 5"]),
    "no budget of time": ("tries: 2}", "hours: -1}", ["line 34", "budget.hours is '-1'"]),
    "an empty value": ("B1: {lr_head: 1e-3}", "B1: {lr_head: }", ["line 17", "lr_head is empty"]),
    "a list for a value": ("B1: {lr_head: 1e-3}", "B1: {lr_head: [1, 2]}", ["line 17", "lr_head is '1,2'"]),
    "a value for a list of names": (
        "      A1: {family: cnn, epochs: 1}",
        "      A1: cnn",
        ["line 12", "wanted is names with values"],
    ),
    "not YAML": ("phases:\n", "phases: [\n", ["not YAML"]),
    "a plan's name with a slash": ("plan: small", "plan: a/b", ["line 1", "plan is 'a/b'"]),
    "no name": ("plan: small\n", "", ["no 'plan'"]),
    "seeds of nothing": ("seeds: [23, 47]", "seeds: []", ["at least one seed"]),
    "a choice after the final models": (
        "    runs: [F1, F2]\n",
        "    runs: [F1, F2]\n    select: {top: 1, by: val_accuracy}\n",
        ["nothing is chosen after it"],
    ),
    "a choice after a smoke test": (
        "    smoke: true\n",
        "    smoke: true\n    select: {top: 1, by: val_accuracy}\n",
        ["phase A is a smoke test"],
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what):
    old, new, says = REFUSED[what]
    with pytest.raises(UserError) as caught:
        plan_of(changed(old, new))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("plan.yaml")
    for part in says:
        assert part in message, message


def test_a_smoke_test_may_be_a_run_that_is_selected_from():
    assert plan_of(changed("A1: {family: cnn, epochs: 1}", "A1: {family: cnn, lr_head: 1e-3}")).warnings == ()


def test_a_phase_with_seeds_has_each_of_its_runs_on_each_of_them():
    plan = plan_of(
        changed("  B:\n    family: cnn", "  B:\n    seeds: [11, 5]\n    family: cnn").replace(
            "seeds: [23, 47]", "seeds: [23, 7]"
        )
    )
    runs = plan.phase("B").runs
    assert [(run.name, run.config_name, run.seed, run.settings.seed) for run in runs[:3]] == [
        ("B1_seed11", "B1", 11, 11),
        ("B1_seed5", "B1", 5, 5),
        ("B2_seed11", "B2", 11, 11),
    ]
    assert [run.order for run in plan.runs] == list(range(1, len(plan.runs) + 1))
    with pytest.raises(UserError, match="top is 4, and phase B has 3 configurations"):
        plan_of(
            changed("  B:\n    family: cnn", "  B:\n    seeds: [11, 5]\n    family: cnn").replace(
                "top: 2, by", "top: 4, by"
            )
        )
    with pytest.raises(UserError, match="seed 5 of these configurations is run before phase C already"):
        plan_of(
            changed("  B:\n    family: cnn", "  B:\n    seeds: [11, 5]\n    family: cnn").replace(
                "seeds: [23, 47]", "seeds: [5]"
            )
        )


def test_twins_of_overrides_alone_are_skipped_where_the_plan_says_so():
    text = (
        changed("  B:\n", "  B:\n    twins: skip\n")
        .replace("top: 2, by", "top: 1, by")
        .replace("[C1, C2, C3, C4]", "[C1, C2]")
    )
    assert [run.name for run in plan_of(text, "lr_head.cnn=1e-3").phase("B").runs] == ["B1"]
    with pytest.raises(UserError, match=r"B2 and B1 \(line 18\) are one configuration and seed: change"):
        plan_of(text.replace("B2: {lr_head: 2e-3}", "B2: {lr_head: 1e-3}"))


def test_small_is_in_order():
    plan = plan_of(SMALL)
    assert [run.name for run in plan.runs] == [
        "A1",
        "A2",
        "B1",
        "B2",
        "B3",
        "C1",
        "C2",
        "C3",
        "C4",
        "D1",
        "D2",
        "F1",
        "F2",
    ]
    assert plan.warnings == ()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "line 1: the file is empty"),
        (b"# nothing\n", "the file is empty"),
        (b"\xff\xfe", "not UTF-8"),
        (b"plan: x\nphases: {}\n", "line 2: the plan has no phases"),
        (b"- a\n- b\n", "the file is a list"),
        (b"plan: &a [*a]\n", "line 1"),
        (b"plan: x\n---\nplan: y\n", "not YAML"),
        (b"plan: x\nphases:\n  ? [a]\n  : b\n", "a name that is no text"),
        (
            b"plan: !!python/object:os.system x\nphases: {}\n",
            "no phases",
        ),  # a tag is a label here: nothing is made of it
    ],
)
def test_files_that_are_no_plans(content, says, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says) as caught:
        read_plan(str(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("tp33", "the plan 'tp33' is unknown. Did you mean tp3?"),
        (
            "nothing-like-it",
            "Allowed: ablation_recipe, clip_finetune, demo, relations_ablation, relations_exp1, relations_exp2, tp3,"
            " tp3_336, tp3_reduced, or a file",
        ),
        ("missing.yaml", "the plan missing.yaml can't be read: No such file"),
        (".", "is a folder"),
    ],
)
def test_plans_that_are_not_there(asked, says):
    with pytest.raises(UserError, match=says):
        read_plan(asked)


def test_off_grid_values_are_warned_of_and_run():
    plan = plan_of(changed("grid: none\n", ""))
    heads = [warning for warning in plan.warnings if "lr_head" in warning]
    assert heads == [
        "plan.yaml, line 17: lr_head 2e-3 is off the grid of cnn (0.001, 0.0007); it is used as it stands (B2)",
        "plan.yaml, line 18: lr_head 3e-3 is off the grid of cnn (0.001, 0.0007); it is used as it stands (B3)",
        "plan.yaml, line 28: lr_head 2e-3 is off the grid of vit (0.001, 0.0005); it is used as it stands (D2)",
    ]
    assert plan.run("B3").settings.lr_head == 3e-3
    meant = plan_of(changed("grid: none\n", ""), "freeze_backbone_epochs=0")
    assert not any("freeze_backbone_epochs" in warning for warning in meant.warnings)
