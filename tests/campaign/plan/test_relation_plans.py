"""The shipped plans of the relation experiments."""

import pytest

from flowerml.campaign.plan.model import FinalMode
from flowerml.campaign.plan.parser import read_plan
from flowerml.errors import UserError

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

# The two experiments of docs/guides/relations-experiments.md.
SAME = {
    "batch_size": 16,
    "lr_head": 1e-4,
    "img_size": 128,
    "embedding": 128,
    "temperature": 0.07,
    "dropout": 0.3,
    "spatial_dropout": 0.2,
}
PLAIN = {"class_weights": "none", "oversample": "none", "scheduler": "constant", "grad_clip": 0}
EXPERIMENTS = {
    "relations_exp1": {**SAME, **PLAIN, "model": "relation_resnet18", "epochs": 15, "patience": 3, "min_epochs": 10},
    "relations_exp2": {
        **SAME,
        **{
            "model": "relation_resnet50",
            "class_weights": "balanced",
            "oversample": "100:3,500:2",
            "scheduler": "plateau",
        },
        **{"plateau_factor": 0.5, "plateau_patience": 3, "min_lr": 1e-6, "grad_clip": 1.0},
        **{"epochs": 50, "patience": 5, "min_epochs": 15},
    },
}
MODIFICATIONS = {
    "ENCODER": {"model"},
    "WEIGHTS": {"class_weights"},
    "OVERSAMPLING": {"oversample"},
    "PLATEAU": {"scheduler", "plateau_factor", "plateau_patience", "min_lr"},
    "CLIPPING": {"grad_clip"},
    "LONGER": {"epochs", "patience", "min_epochs"},
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_the_pages_on_three_seeds(name):
    plan = read_plan(name)
    runs = plan.phase("A").runs
    assert [run.seed for run in runs] == [11, 23, 47]
    for run in runs:
        assert {setting: getattr(run.settings, setting) for setting in EXPERIMENTS[name]} == EXPERIMENTS[name]
        assert run.settings.freeze_backbone_epochs == run.settings.epochs, "the backbone stays frozen"
        assert run.settings.split_seed == 11
    assert (plan.phase("F").final.of, plan.phase("F").final.mode) == (("A",), FinalMode.KEEP_BEST)
    assert plan.warnings == ()


def test_the_ablation_switches_on_one_modification_at_a_time():
    plan = read_plan("relations_ablation")
    one, other = (read_plan(name).phase("A").runs[0].settings for name in EXPERIMENTS)
    found = {}
    for run in plan.runs:
        found.setdefault(run.config_name, []).append(run)
    assert list(found) == ["BASE", *MODIFICATIONS, "ALL"]
    assert all([run.seed for run in runs] == [11, 23, 47] for runs in found.values())
    assert found["BASE"][0].settings == one
    assert found["ALL"][0].settings == other
    for name, settings in MODIFICATIONS.items():
        assert found[name][0].settings == one.replace(
            **{setting: getattr(other, setting) for setting in settings},
            **({"freeze_backbone_epochs": other.epochs} if "epochs" in settings else {}),
        )


def test_an_ablation_with_one_model_for_all_leaves_out_what_is_the_same_then():
    plan = read_plan("relations_ablation", ("model.relation=relation:timm:mobilenetv2_100", "epochs=3"))
    assert [run.order for run in plan.runs] == list(range(1, 22))
    assert "ENCODER" not in {run.config_name for run in plan.runs}
    assert plan.warnings == (
        "ENCODER is BASE with these overrides: it is left out (ENCODER_seed11, ENCODER_seed23 and 1 more)",
    )


def test_weights_of_relation_models_are_not_averaged():
    with pytest.raises(UserError, match="is soup, and weights of family relation are not averaged"):
        read_plan("relations_exp2", ("final.mode=soup",))
