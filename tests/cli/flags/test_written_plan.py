"""The commands of the written plan, verbatim, and as `mlflow run` spells them."""

import pytest

from flowerml.settings import resolve
from tests.cli.flags.parsing import parse, settings_of

# Verbatim from the written plan of tp3: its two smoke tests.
A01_CNN_SMOKE = (
    "python entrypoints/train.py --model convnextv2_large --train-dir data/train --val-split 0.2 --seed 11 --epochs 2"
    " --batch-size 16 --img-size 224 --optimizer adamw --lr-head 1e-3 --lr-backbone 2e-4 --weight-decay 0.02"
    " --warmup-epochs 1 --scheduler cosine --label-smoothing 0.05 --mixup 0.0 --cutmix 0.0 --randaugment 0"
    " --random-erasing 0.0 --amp --ema --grad-clip 1.0 --freeze-backbone-epochs 1 --llrd 1.0 --output-dir"
    " runs/A01_CNN_SMOKE"
)
A02_CLIP_SMOKE = (
    "python entrypoints/train.py --model clip_vitl14 --train-dir data/train --val-split 0.2 --seed 11 --epochs 2"
    " --batch-size 8 --img-size 224 --optimizer adamw --lr-head 1e-3 --lr-backbone 1e-5 --weight-decay 0.02"
    " --warmup-epochs 1 --scheduler cosine --label-smoothing 0.05 --mixup 0.0 --cutmix 0.0 --randaugment 0"
    " --random-erasing 0.0 --amp --ema --grad-clip 1.0 --freeze-backbone-epochs 2 --llrd 0.85 --output-dir"
    " runs/A02_CLIP_SMOKE"
)
SMOKE = {
    "model": "convnextv2_large",
    "train_dir": "data/train",
    "val_split": 0.2,
    "seed": 11,
    "epochs": 2,
    "batch_size": 16,
    "img_size": 224,
    "optimizer": "adamw",
    "lr_head": 0.001,
    "lr_backbone": 0.0002,
    "weight_decay": 0.02,
    "warmup_epochs": 1,
    "scheduler": "cosine",
    "label_smoothing": 0.05,
    "mixup": 0.0,
    "cutmix": 0.0,
    "randaugment": 0,
    "random_erasing": 0.0,
    "amp": True,
    "ema": True,
    "grad_clip": 1.0,
    "freeze_backbone_epochs": 1,
    "llrd": 1.0,
    "output_dir": "runs/A01_CNN_SMOKE",
}
CLIP_SMOKE = SMOKE | {
    "model": "clip_vitl14",
    "batch_size": 8,
    "lr_backbone": 0.00001,
    "freeze_backbone_epochs": 2,
    "llrd": 0.85,
    "output_dir": "runs/A02_CLIP_SMOKE",
}


class TestThePlansCommands:
    """Verbatim, flag by flag."""

    @pytest.mark.parametrize(
        ("command", "expected"), [(A01_CNN_SMOKE, SMOKE), (A02_CLIP_SMOKE, CLIP_SMOKE)], ids=["A01", "A02"]
    )
    @pytest.mark.parametrize("added", [{}, {"weights": "none"}], ids=["verbatim", "weights none"])
    def test_smoke_command_means_what_it_says(self, command, expected, added):
        words = command.removeprefix("python entrypoints/train.py ") + "".join(
            f" --{name} {text}" for name, text in added.items()
        )
        assert set(parse(words)) == {*expected, *added}
        settings, warnings = resolve(parse(words))
        said = settings.model_dump()
        assert {name: said[name] for name in expected} == expected
        assert {name: type(said[name]) for name in expected} == {name: type(value) for name, value in expected.items()}
        assert settings.weights == added.get("weights", "hub")
        assert warnings == []
        # What the command leaves out is as if it had been left out of everything.
        plain = resolve({"model": settings.model})[0].model_dump()
        assert {name: said[name] for name in said.keys() - expected.keys() - added.keys()} == {
            name: plain[name] for name in said.keys() - expected.keys() - added.keys()
        }

    def test_second_smoke_differs_from_the_first_only_where_issue_2_says(self):
        first, second = (
            settings_of(command.split(" ", 2)[2]).model_dump() for command in (A01_CNN_SMOKE, A02_CLIP_SMOKE)
        )
        different = {name for name in first if first[name] != second[name]}
        # drop_path is the family's own: neither command names it.
        assert different == {
            "model",
            "batch_size",
            "lr_backbone",
            "freeze_backbone_epochs",
            "llrd",
            "output_dir",
            "drop_path",
        }

    def test_mlflows_spelling_of_the_same_command_is_the_same(self):
        """`mlflow run -P lr_head=1e-3 -P amp=true` appends `--lr_head 1e-3 --amp true`."""
        words = " ".join(
            f"--{name} {str(value).lower() if isinstance(value, bool) else value}" for name, value in SMOKE.items()
        )
        assert settings_of(words) == settings_of(A01_CNN_SMOKE.split(" ", 2)[2])
