"""`train --help`: the table of all flags with group, value, unit, range and default; no `--help` imports torch."""

import re

import pytest

from flowerml.settings.declaration import fields
from tests.cli.flags.entry_point import command, heavy

MODELS_OWN, TASKS_OWN = "the model's own", "the task's own"
PLACE = "(a path, or s3://… or https://… without user, password and query)"
# group: {flag: (what stands for the value, unit and range as shown, default)}
HELP = {
    "model": {
        "--model": ("TEXT", "(catalogue name, timm:NAME, openclip:ARCH[/TAG], relation:timm:NAME)", "convnextv2_large"),
        "--weights": ("TEXT", "(hub, none, PATH of a .safetensors or .pth)", "hub"),
        "--img-size": ("INT", "[px] (>= 16, <= 2048)", "cnn 224, vit 224, relation 128"),
        "--mean": ("R,G,B", "", MODELS_OWN),
        "--std": ("R,G,B", "", MODELS_OWN),
        "--interpolation": ("{bilinear,bicubic}", "", MODELS_OWN),
        "--crop-pct": ("F", "(> 0.1, <= 1)", MODELS_OWN),
        "--dropout": ("F", "(>= 0, < 1)", "cnn 0.0, vit 0.0, relation 0.3"),
        "--head-init": ("{random,text}", "", "random"),
        "--drop-path": ("F", "(>= 0, < 1)", "cnn 0.1, vit 0.0, relation 0.0"),
    },
    "data": {
        "--train-dir": ("TEXT", PLACE, "data/train"),
        "--test-dir": ("TEXT", PLACE, "none"),
        "--classes": ("A,B,...", "(each once)", TASKS_OWN),
        "--val-split": ("F", "(>= 0, < 1)", "0.2"),
        "--split-seed": ("INT", "(>= 0, <= 2147483648)", "11"),
        "--folds": ("INT", "(>= 0, <= 20)", "0"),
        "--fold": ("INT", "(>= 1)", "all"),
        "--bad-images": ("{stop,skip}", "", "stop"),
        "--duplicates": ("{stop,keep,drop}", "", "stop"),
    },
    "relations of two boxed objects": {
        "--annotations": ("TEXT", "", "found there"),
        "--test-annotations": ("TEXT", "", "found there"),
        "--wording": ("TEXT", "(exact, synonyms, PATH of a .csv (text,relation))", "exact"),
        "--box-features": ("{seed,published,rich}", "", "seed"),
        "--embedding": ("INT", "(>= 1, <= 65536)", "128"),
        "--temperature": ("F", "(> 0, <= 100)", "0.07"),
        "--spatial-dropout": ("F", "(>= 0, < 1)", "0.2"),
        "--flip": ("F", "(>= 0, <= 1)", "0.5"),
        "--cache-features": ("[{true,false}]", "", "true"),
    },
    "optimiser": {
        "--epochs": ("INT", "[epochs] (>= 1, <= 10000)", "cnn 45, vit 30, relation 50"),
        "--batch-size": ("INT", "[pictures] (>= 1, <= 65536)", "cnn 32, vit 16, relation 16"),
        "--accumulate": ("INT", "(>= 1, <= 1024)", "1"),
        "--optimizer": ("{adamw,sgd}", "", "adamw"),
        "--lr-head": ("F", "(> 0, <= 10)", "cnn 0.001, vit 0.001, relation 0.0001"),
        "--lr-backbone": ("F", "(>= 0, <= 10)", "cnn 0.0002, vit 1e-05, relation 1e-05"),
        "--weight-decay": ("F", "(>= 0, <= 10)", "cnn 0.02, vit 0.02, relation 0.0"),
        "--llrd": ("F", "(> 0, <= 1)", "cnn 1.0, vit 0.85, relation 1.0"),
        "--scheduler": ("{cosine,plateau,constant}", "", "cosine"),
        "--warmup-epochs": ("INT", "[epochs] (>= 0, <= 10000)", "cnn 5, vit 3, relation 0"),
        "--plateau-factor": ("F", "(> 0, < 1)", "0.5"),
        "--plateau-patience": ("INT", "[epochs] (>= 0, <= 10000)", "3"),
        "--min-lr": ("F", "(>= 0, <= 10)", "1e-06"),
        "--grad-clip": ("F", "(>= 0, <= 1000000.0)", "1.0"),
        "--sam-rho": ("F", "(>= 0, <= 10)", "0.0"),
        "--lora-rank": ("INT", "(>= 0, <= 1024)", "0"),
        "--freeze-backbone-epochs": ("INT", "[epochs] (>= 0, <= 10000)", "cnn 3, vit 8, relation 50"),
        "--freeze-views": ("INT", "[views] (>= 0, <= 64)", "0"),
        "--probe": ("[{true,false}]", "", "false"),
        "--amp": ("[{true,false}]", "", "true"),
        "--tf32": ("{off,convolutions,on}", "", "convolutions"),
        "--ema": ("[{true,false}]", "", "true"),
    },
    "augmentation and regularisation": {
        "--label-smoothing": ("F", "(>= 0, < 1)", "cnn 0.05, vit 0.05, relation 0.0"),
        "--mixup": ("F", "(>= 0, <= 10)", "cnn 0.2, vit 0.1, relation 0.0"),
        "--cutmix": ("F", "(>= 0, <= 10)", "cnn 1.0, vit 0.5, relation 0.0"),
        "--unmixed-epochs": ("INT", "[epochs] (>= 0, <= 10000)", "0"),
        "--randaugment": ("INT", "(>= 0, <= 30)", "cnn 9, vit 7, relation 0"),
        "--trivialaugment": ("[{true,false}]", "", "false"),
        "--random-erasing": ("F", "(>= 0, <= 1)", "cnn 0.1, vit 0.1, relation 0.0"),
        "--crop-scale": ("F", "(>= 0.01, <= 1)", "0.35"),
        "--color-jitter": ("F", "(>= 0, <= 1)", "0.0"),
        "--augment-backend": ("{torchvision,opencv}", "", "torchvision"),
    },
    "class imbalance": {
        "--class-weights": ("{none,balanced,effective}", "", "none"),
        "--effective-beta": ("F", "(>= 0, < 1)", "0.999"),
        "--focal-gamma": ("F", "(>= 0, <= 10)", "0.0"),
        "--logit-adjustment": ("F", "(>= 0, <= 10)", "0.0"),
        "--oversample": ("TEXT", '(none or "COUNT:TIMES,..." with TIMES up to 100, for example "100:3,500:2")', "none"),
    },
    "stopping and the best epoch": {
        "--monitor": ("{val_accuracy,val_macro_f1,val_mean_recall,val_loss}", "", "val_accuracy"),
        "--patience": ("INT", "(>= 0, <= 10000)", "10"),
        "--min-epochs": ("INT", "[epochs] (>= 0, <= 10000)", "0"),
        "--stop-epoch": ("INT", "[epochs] (>= 1, <= 10000)", "none"),
        "--max-minutes": ("F", "[minutes] (>= 0, <= 100000)", "0.0"),
        "--fitted-steps": ("TEXT", '(none or "STEPS,STEPS@STEP,...", for example "412,405@92")', "none"),
    },
    "the run itself": {
        "--seed": ("INT", "(>= 0, <= 2147483648)", "11"),
        "--output-dir": ("TEXT", "", "<runs root>/<model>-<config>-s<seed>"),
        "--runs-root": ("TEXT", "", "runs"),
        "--resume": ("{last,never}", "", "last"),
        "--checkpoint-every-steps": ("INT", "[steps] (>= 0, <= 1000000000)", "0"),
        "--checkpoint-every-minutes": ("F", "[minutes] (>= 0, <= 10000)", "0.0"),
        "--keep-checkpoints": ("INT", "(>= 1, <= 1000)", "2"),
        "--keep-epochs": ("INT", "[epochs] (>= 0, <= 1000)", "0"),
        "--lease-seconds": ("INT", "[seconds] (>= 1, <= 86400)", "60"),
        "--on-launcher-death": ("{stop,finish}", "", "stop"),
        "--overwrite": ("[{true,false}]", "", "false"),
        "--experiment": ("TEXT", "(up to 256 characters)", f"MLFLOW_EXPERIMENT_NAME, or {TASKS_OWN}"),
        "--run-name": ("TEXT", "(up to 250 characters)", "the output folder's"),
        "--workers": ("INT", "(>= 0, <= 256)", "by cores"),
        "--cache-images": ("{off,ram,disk,auto}", "", "off"),
        "--cache-images-gb": ("F", "[GB] (>= 0, <= 100000)", "0.0"),
        "--device": ("TEXT", "(cpu, cuda, cuda:N, mps)", "the best there is"),
        "--compile": ("[{true,false}]", "", "on a GPU, after an epoch that shows that the rest is long enough"),
        "--gpus": ("INT", "(>= 1, <= 1024)", "1"),
        "--grad-checkpointing": ("[{true,false}]", "", "false"),
    },
}
FLAGS = {flag: (group, *row) for group, rows in HELP.items() for flag, row in rows.items()}


def read_help(text):
    """flag -> (group, what stands for its value, help) of argparse's page, as wide as it likes."""
    found, group, flag = {}, "", ""
    for line in text.splitlines():
        entry = re.match(r"  (--[a-z0-9-]+) (\S+) *(.*)$", line)
        if re.fullmatch(r"\S.*:", line):
            group = line[:-1]
        elif entry:
            flag = entry[1]
            found[flag] = (group, entry[2], entry[3])
        elif flag and line.startswith(" " * 20):
            found[flag] = (*found[flag][:2], (found[flag][2] + line.strip()))
    return found


@pytest.fixture(scope="module")
def train_help():
    return command("train", "--help")


class TestHelp:
    """`--help` groups the flags, shows defaults, ranges and units, and imports neither torch nor mlflow."""

    def test_answers_at_once(self, train_help):
        code, _, said, modules = train_help
        assert (code, said) == (0, "")
        assert "flowerml.settings.declaration" in modules, "import times were not seen: this test would prove nothing"
        assert heavy(modules) == set()

    def test_shows_every_setting_and_nothing_unknown(self, train_help):
        assert set(FLAGS) == {f"--{name.replace('_', '-')}" for name in fields()}
        assert set(read_help(train_help[1])) - {"--json", "--config", "--like"} == set(FLAGS)

    @pytest.mark.parametrize("flag", FLAGS)
    def test_flag_stands_in_its_group_with_unit_range_and_default(self, flag, train_help):
        group, value, limits, default = FLAGS[flag]
        found_group, found_value, text = read_help(train_help[1])[flag]
        assert (found_group, found_value) == (group, value)
        description = fields()[flag[2:].replace("-", "_")].description
        assert text == f"{description}{' ' if limits else ''}{limits}; default: {default}"

    def test_groups_stand_in_the_declarations_order_and_once(self, train_help):
        titles = [line[:-1] for line in train_help[1].splitlines() if re.fullmatch(r"\S.*:", line)]
        assert titles == ["options", *HELP, "output"]

    @pytest.mark.parametrize("script", ["eval", "dataset"])
    def test_other_commands_help_costs_no_torch_either(self, script):
        code, shown, said, modules = command(script, "--help")
        assert (code, said) == (0, "")
        assert shown.startswith(f"usage: flowerml {script} ")
        assert heavy(modules) == set()
