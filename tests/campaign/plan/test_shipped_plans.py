"""The shipped plans against docs/guides/plan-of-24-runs.md: every name, seed and setting, in its order."""

import shlex

import pytest

from flowerml.campaign.plan.model import ConfigRef, FinalMode, PhaseKind
from flowerml.campaign.plan.parser import read_plan, shipped_plans
from flowerml.settings import resolve
from flowerml.settings.flags import CommandParser, add_settings

# Model, epochs, batch, warmup, smoothing, mixup, cutmix, RandAugment, erasing, freeze, llrd; then lr_head, lr_backbone,
# weight_decay.
_COLUMNS = (
    *(
        "model",
        "epochs",
        "batch_size",
        "warmup_epochs",
        "label_smoothing",
        "mixup",
        "cutmix",
        "randaugment",
        "random_erasing",
    ),
    *("freeze_backbone_epochs", "llrd", "lr_head", "lr_backbone", "weight_decay"),
)
_CNN, _VIT = "convnextv2_large", "clip_vitl14"
TP3 = {
    "A01_CNN_SMOKE": (_CNN, 2, 16, 1, 0.05, 0.0, 0.0, 0, 0.0, 1, 1.0, 1e-3, 2e-4, 0.02),
    "A02_CLIP_SMOKE": (_VIT, 2, 8, 1, 0.05, 0.0, 0.0, 0, 0.0, 2, 0.85, 1e-3, 1e-5, 0.02),
    "B01_CNN_lr3e4_wd0.02_fb3": (_CNN, 45, 32, 5, 0.05, 0.2, 1.0, 9, 0.1, 3, 1.0, 3e-4, 2e-4, 0.02),
    "B02_CNN_lr7e4_wd0.05_fb5": (_CNN, 45, 32, 5, 0.05, 0.2, 1.0, 9, 0.1, 5, 1.0, 7e-4, 2e-4, 0.05),
    "B03_CNN_lr1e3_wd0.02_fb3": (_CNN, 45, 32, 5, 0.05, 0.2, 1.0, 9, 0.1, 3, 1.0, 1e-3, 2e-4, 0.02),
    "B04_CNN_lr7e4_wd0.05_fb5_lrb1e4": (_CNN, 45, 32, 5, 0.05, 0.2, 1.0, 9, 0.1, 5, 1.0, 7e-4, 1e-4, 0.05),
    "B05_CNN_lr1e3_wd0.05_fb3_ls0.1": (_CNN, 45, 32, 5, 0.1, 0.2, 1.0, 9, 0.1, 3, 1.0, 1e-3, 2e-4, 0.05),
    "B06_CNN_lr7e4_wd0.02_fb5_ls0.1": (_CNN, 45, 32, 5, 0.1, 0.2, 1.0, 9, 0.1, 5, 1.0, 7e-4, 2e-4, 0.02),
    "C01_CNN_top1_seed23": ("B", 1, 23),
    "C02_CNN_top1_seed47": ("B", 1, 47),
    "C03_CNN_top2_seed23": ("B", 2, 23),
    "C04_CNN_top2_seed47": ("B", 2, 47),
    "D01_CLIP_lrh1e3_lrb1e5_wd0.02_mix0.1_cut0.5_llrd0.85": (
        _VIT,
        30,
        16,
        3,
        0.05,
        0.1,
        0.5,
        7,
        0.1,
        8,
        0.85,
        1e-3,
        1e-5,
        0.02,
    ),
    "D02_CLIP_lrh5e4_lrb5e6_wd0.05_mix0.2_cut1.0_llrd0.75": (
        _VIT,
        30,
        16,
        3,
        0.05,
        0.2,
        1.0,
        7,
        0.1,
        8,
        0.75,
        5e-4,
        5e-6,
        0.05,
    ),
    "D03_CLIP_lrh1e3_lrb5e6_wd0.02_mix0.2_cut0.5_llrd0.85": (
        _VIT,
        30,
        16,
        3,
        0.05,
        0.2,
        0.5,
        7,
        0.1,
        8,
        0.85,
        1e-3,
        5e-6,
        0.02,
    ),
    "D04_CLIP_lrh5e4_lrb1e5_wd0.05_mix0.1_cut1.0_llrd0.75": (
        _VIT,
        30,
        16,
        3,
        0.05,
        0.1,
        1.0,
        7,
        0.1,
        8,
        0.75,
        5e-4,
        1e-5,
        0.05,
    ),
    "D05_CLIP_lrh1e3_lrb1e5_wd0.05_mix0.2_cut1.0_llrd0.85": (
        _VIT,
        30,
        16,
        3,
        0.05,
        0.2,
        1.0,
        7,
        0.1,
        8,
        0.85,
        1e-3,
        1e-5,
        0.05,
    ),
    "D06_CLIP_lrh5e4_lrb5e6_wd0.02_mix0.1_cut0.5_llrd0.75": (
        _VIT,
        30,
        16,
        3,
        0.05,
        0.1,
        0.5,
        7,
        0.1,
        8,
        0.75,
        5e-4,
        5e-6,
        0.02,
    ),
    "E01_CLIP_top1_seed23": ("D", 1, 23),
    "E02_CLIP_top1_seed47": ("D", 1, 47),
    "E03_CLIP_top2_seed23": ("D", 2, 23),
    "E04_CLIP_top2_seed47": ("D", 2, 47),
    "F01_CNN_FINAL_FULLTRAIN": ("C", 1, 11),
    "F02_CLIP_FINAL_FULLTRAIN": ("E", 1, 11),
}
REDUCED = [
    *("A01_CNN_SMOKE", "A02_CLIP_SMOKE"),
    *(
        "B01_CNN_lr3e4_wd0.02_fb3",
        "B02_CNN_lr7e4_wd0.05_fb5",
        "B03_CNN_lr1e3_wd0.02_fb3",
        "B04_CNN_lr7e4_wd0.05_fb5_lrb1e4",
    ),
    *("C01_CNN_top1_seed23", "C02_CNN_top2_seed23"),
    *(name for name in TP3 if name.startswith(("D01", "D02", "D03", "D04"))),
    *("E01_CLIP_top1_seed23", "E02_CLIP_top2_seed23"),
    *("F01_CNN_FINAL_FULLTRAIN", "F02_CLIP_FINAL_FULLTRAIN"),
]
# The two commands that the written plan of tp3 gives in full, its templates for B and D filled in for a run each.
_FIXED = "--val-split 0.2 --img-size 224 --optimizer adamw --scheduler cosine --amp --ema --grad-clip 1.0"
DOCUMENT = {
    "A01_CNN_SMOKE": (
        "--model convnextv2_large --train-dir data/train --val-split 0.2 --seed 11 --epochs 2 --batch-size 16"
        " --img-size 224 --optimizer adamw --lr-head 1e-3 --lr-backbone 2e-4 --weight-decay 0.02 --warmup-epochs 1"
        " --scheduler cosine --label-smoothing 0.05 --mixup 0.0 --cutmix 0.0 --randaugment 0 --random-erasing 0.0 --amp"
        " --ema --grad-clip 1.0 --freeze-backbone-epochs 1 --llrd 1.0"
    ),
    "A02_CLIP_SMOKE": (
        "--model clip_vitl14 --train-dir data/train --val-split 0.2 --seed 11 --epochs 2 --batch-size 8 --img-size 224"
        " --optimizer adamw --lr-head 1e-3 --lr-backbone 1e-5 --weight-decay 0.02 --warmup-epochs 1 --scheduler cosine"
        " --label-smoothing 0.05 --mixup 0.0 --cutmix 0.0 --randaugment 0 --random-erasing 0.0 --amp --ema --grad-clip"
        " 1.0 --freeze-backbone-epochs 2 --llrd 0.85"
    ),
    "B05_CNN_lr1e3_wd0.05_fb3_ls0.1": (
        "--model convnextv2_large --seed 11 --epochs 45 --batch-size 32 --lr-head 1e-3 --lr-backbone 2e-4"
        " --weight-decay 0.05 --warmup-epochs 5 --label-smoothing 0.1 --mixup 0.2 --cutmix 1.0 --randaugment 9"
        f" --random-erasing 0.1 --freeze-backbone-epochs 3 --llrd 1.0 {_FIXED}"
    ),
    "D04_CLIP_lrh5e4_lrb1e5_wd0.05_mix0.1_cut1.0_llrd0.75": (
        "--model clip_vitl14 --seed 11 --epochs 30 --batch-size 16 --lr-head 5e-4 --lr-backbone 1e-5 --weight-decay"
        " 0.05 --warmup-epochs 3 --label-smoothing 0.05 --mixup 0.1 --cutmix 1.0 --randaugment 7 --random-erasing 0.1"
        f" --freeze-backbone-epochs 8 --llrd 0.75 {_FIXED}"
    ),
}


def test_nine_plans_are_shipped():
    assert shipped_plans() == (
        "ablation_recipe",
        "clip_finetune",
        "demo",
        "relations_ablation",
        "relations_exp1",
        "relations_exp2",
        "tp3",
        "tp3_336",
        "tp3_reduced",
    )


def test_every_run_of_tp3():
    runs = read_plan("tp3").runs
    assert [run.name for run in runs] == list(TP3)
    assert [run.order for run in runs] == list(range(1, 25))
    for run in runs:
        wanted = TP3[run.name]
        if run.settings is None:
            assert (run.source, run.seed) == (ConfigRef(*wanted[:2]), wanted[2]), run.name
            continue
        assert tuple(getattr(run.settings, name) for name in _COLUMNS) == wanted, run.name
        assert run.seed == run.settings.seed == 11
        assert (run.settings.img_size, run.settings.val_split, run.settings.split_seed, run.settings.patience) == (
            224,
            0.2,
            11,
            10,
        )
        assert (run.settings.optimizer, run.settings.scheduler, run.settings.grad_clip) == ("adamw", "cosine", 1.0)
        assert (run.settings.amp, run.settings.ema, run.settings.monitor) == (True, True, "val_accuracy")


@pytest.mark.parametrize("name", DOCUMENT)
def test_a_run_is_the_written_plans_command(name):
    parser = CommandParser(prog="train")
    add_settings(parser)
    asked = vars(parser.parse(shlex.split(DOCUMENT[name])))
    assert read_plan("tp3").run(name).settings == resolve(asked)[0]


def test_phases_of_tp3():
    plan = read_plan("tp3")
    assert [(phase.name, phase.kind, len(phase.runs)) for phase in plan.phases] == [
        ("A", PhaseKind.SMOKE, 2),
        ("B", PhaseKind.SELECT, 6),
        ("C", PhaseKind.CONFIRM, 4),
        ("D", PhaseKind.SELECT, 6),
        ("E", PhaseKind.CONFIRM, 4),
        ("F", PhaseKind.FINAL, 2),
    ]
    assert [phase.select.top if phase.select else None for phase in plan.phases] == [None, 2, 1, 2, 1, None]
    final = plan.phase("F").final
    assert (final.of, final.mode, final.seed) == (("C", "E"), FinalMode.RETRAIN, 11)
    assert plan.budget.runs == 24


def test_tp3_warns_of_the_one_value_off_its_grid():
    (warning,) = read_plan("tp3").warnings
    assert "lr_head 3e-4 is off the grid of cnn (0.001, 0.0007)" in warning
    assert warning.endswith("(B01_CNN_lr3e4_wd0.02_fb3)")


def test_the_reduced_plan_is_sixteen_of_the_same_runs():
    full, reduced = read_plan("tp3"), read_plan("tp3_reduced")
    assert [run.name for run in reduced.runs] == REDUCED
    assert len(reduced.runs) == 16
    for run in reduced.runs:
        if run.settings is not None:
            assert run.settings == full.run(run.name).settings
    assert [run.seed for run in reduced.runs if run.settings is None] == [23, 23, 23, 23, 11, 11]
    assert [(str(run.source.phase), run.source.rank) for run in reduced.phase("C").runs] == [("B", 1), ("B", 2)]
    assert {phase.name: phase.select.top for phase in reduced.phases if phase.select} == {
        "B": 2,
        "C": 1,
        "D": 2,
        "E": 1,
    }


def test_the_late_variant_is_the_chosen_vit_at_336_px():
    plan = read_plan("tp3_336")
    assert [(run.name, run.seed, run.family.value) for run in plan.runs] == [
        ("G01_CLIP_336_seed11", 11, "vit"),
        ("G02_CLIP_336_seed23", 23, "vit"),
        ("G03_CLIP_336_seed47", 47, "vit"),
    ]
    confirm = plan.phase("G").confirm
    assert confirm.external == ("tp3", "E")
    assert confirm.changes == {"img_size": "336"}


def test_the_demo_has_the_shape_of_tp3():
    def shape(plan):
        return [
            (phase.name, phase.kind, [(run.family, run.seed, run.source) for run in phase.runs], phase.select)
            for phase in plan.phases
        ]

    demo = read_plan("demo")
    assert shape(demo) == shape(read_plan("tp3"))
    assert demo.warnings == ()
    assert {run.settings.weights for run in demo.runs if run.settings} == {"none"}


def test_plans_have_digests_of_their_own():
    assert len({read_plan(name).digest for name in shipped_plans()}) == 9
