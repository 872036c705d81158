"""The command line: spelling of flags, the plan's own commands, exit codes, `--help`, and that a mistake costs no torch
import.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import flowerml
from flowerml.cli.main import COMMANDS, main, run_command
from flowerml.errors import RunFailed, UserError
from flowerml.settings import resolve
from flowerml.settings.declaration import fields
from flowerml.settings.flags import CommandParser, add_settings

ROOT = Path(__file__).resolve().parents[2]
EVERY = ", ".join(COMMANDS)
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


def parse(line):
    """What `train` makes of these words: name -> text, only what was typed."""
    parser = CommandParser(prog="flowerml train")
    add_settings(parser)
    return vars(parser.parse(shlex.split(line)))


def settings_of(line):
    return resolve(parse(line))[0]


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


class TestSwitches:
    """`--amp`, `--amp true|false` and `--no-amp` all parse."""

    @pytest.mark.parametrize("name", ["amp", "ema", "overwrite", "compile"])
    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("--{}", True),
            ("--{} true", True),
            ("--{}=true", True),
            ("--{} True", True),
            ("--{} false", False),
            ("--{}=false", False),
            ("--no-{}", False),
            ("--no_{}", False),
            ("--{} --no-{}", False),
            ("--no-{} --{}", True),
            ("--{} false --{}", True),
        ],
    )
    def test_every_spelling(self, name, line, expected):
        assert getattr(settings_of(line.format(name, name)), name) is expected

    def test_a_flag_behind_a_switch_is_not_its_value(self):
        settings = settings_of("--amp --no-ema --epochs 7")
        assert (settings.amp, settings.ema, settings.epochs) == (True, False, 7)

    def test_left_out_is_the_default(self):
        assert parse("") == {}
        settings = settings_of("")
        assert (settings.amp, settings.ema, settings.overwrite, settings.compile) == (True, True, False, None)


class TestSpelling:
    """`--lr_head` equals `--lr-head`; values are never touched."""

    @pytest.mark.parametrize("line", ["--lr-head 1e-3", "--lr_head 1e-3", "--lr-head=1e-3", "--lr_head=1e-3"])
    def test_hyphen_and_underscore_are_one(self, line):
        assert parse(line) == {"lr_head": "1e-3"}

    @pytest.mark.parametrize("name", [name for name in fields() if name not in ("amp", "ema", "overwrite", "compile")])
    def test_every_setting_has_its_flag_in_both_spellings(self, name):
        hyphens = name.replace("_", "-")
        for spelling in (f"--{hyphens} x_y-z", f"--{name} x_y-z", f"--{hyphens}=x_y-z", f"--{name}=x_y-z"):
            assert parse(spelling) == {name: "x_y-z"}

    def test_values_keep_their_underscores_equal_signs_and_spaces(self):
        line = "--output_dir=runs/a_b=c --run-name 'my_run of été' --train_dir 'data/my photos'"
        assert parse(line) == {"output_dir": "runs/a_b=c", "run_name": "my_run of été", "train_dir": "data/my photos"}

    def test_last_of_two_wins(self):
        """`mlflow run` appends -P values behind those of MLproject's own command."""
        assert parse("--seed 1 --seed=2 --lr_head 1 --lr-head 2") == {"seed": "2", "lr_head": "2"}

    def test_no_abbreviations(self):
        """An abbreviation would silently mean something else once a longer flag is added."""
        with pytest.raises(UserError, match="flag '--warm' is unknown"):
            parse("--warm 3")

    def test_number_below_zero_is_a_value_not_a_flag(self):
        for number in ("-1", "-0.5", "-.5", "-1e-3", "-1E+2"):
            assert parse(f"--lr_head {number}") == {"lr_head": number}


class TestExitCodes:
    """0 well, 1 a run failed, 2 wrong input, 130 stopped by hand; the line goes to stderr, stdout stays for results."""

    @pytest.mark.parametrize(
        ("words", "line"),
        [
            ("train --lr-head abc", "--lr-head is 'abc'. Allowed: number, > 0, <= 10, or auto"),
            (
                "train --lr-haed 1",
                "flag '--lr-haed' is unknown. Did you mean --lr-head? flowerml train --help lists them",
            ),
            ("train --jsn", "flag '--jsn' is unknown. Did you mean --json? flowerml train --help lists them"),
            (
                "train --epochs 2 --warmup-epochs 3",
                "--warmup-epochs 3 is longer than the run (--epochs 2): lower it or train longer",
            ),
            ("eval", "the following arguments are required: --checkpoint. flowerml eval --help lists the flags"),
            (
                "eval --checkpoint x --spilt val",
                "flag '--spilt' is unknown. Did you mean --split? flowerml eval --help lists them",
            ),
            ("eval --checkpoint x --workers two", "--workers is 'two'. Allowed: whole number, >= 0, <= 256, or auto"),
            ("eval --checkpoint x --workers -1", "--workers is '-1'. Allowed: whole number, >= 0, <= 256, or auto"),
            (
                "eval --checkpoint x --train_dir a --test_dir b",
                (
                    "--test-dir and --train-dir exclude each other: the first names pictures outside the split, the"
                    " second those of it"
                ),
            ),
            ("dataset", "the following arguments are required: action. flowerml dataset --help lists the flags"),
            ("dataset make --size 31", "--size is '31'. Allowed: whole number, 32 to 2048"),
            ("dataset make --per-class 0", "--per-class is '0'. Allowed: whole number, 1 to 100000"),
            ("dataset make --per_class many", "--per-class is 'many'. Allowed: whole number, 1 to 100000"),
            ("dataset make --seed -1", "--seed is '-1'. Allowed: whole number, 0 to 2147483648"),
            (
                "dataset make --sise 64",
                "flag '--sise' is unknown. Did you mean --size? flowerml dataset --help lists them",
            ),
            ("trian", f"command 'trian' is unknown. Did you mean train? Allowed: {EVERY}"),
            ("evaluate --checkpoint x", f"command 'evaluate' is unknown. Did you mean eval? Allowed: {EVERY}"),
            ("data-set", f"command 'data-set' is unknown. Did you mean dataset? Allowed: {EVERY}"),
            ("zzz", f"command 'zzz' is unknown. Allowed: {EVERY}"),
        ],
    )
    def test_wrong_input_is_one_line_on_stderr_and_exit_code_2(self, words, line, capsys):
        assert main(words.split()) == 2
        assert capsys.readouterr() == ("", f"error: {line}\n")

    @pytest.mark.parametrize(
        ("words", "value", "near"),
        [("eval --checkpoint x --split vall", "vall", "val"), ("dataset chek", "chek", "check")],
    )
    def test_mistyped_word_of_a_choice_gets_the_nearest(self, words, value, near, capsys):
        assert main(words.split()) == 2
        found = capsys.readouterr().err
        assert repr(value) in found
        assert f"Did you mean {near}?" in found
        assert found.count("\n") == 1

    @pytest.mark.parametrize(
        ("error", "code", "line"),
        [
            (UserError("no such folder"), 2, "error: no such folder\n"),
            (RunFailed("the loss is nan"), 1, "error: the loss is nan\n"),
            (KeyboardInterrupt(), 130, "stopped\n"),
        ],
    )
    def test_what_went_wrong_decides_the_code(self, error, code, line, capsys, monkeypatch):
        def run(_argv):
            raise error

        monkeypatch.setattr("flowerml.cli.commands.experiments.train.run", run)
        assert run_command("train", []) == code
        assert capsys.readouterr() == ("", line)

    def test_a_commands_own_code_is_the_exit_code(self, monkeypatch):
        seen = []
        monkeypatch.setattr("flowerml.cli.commands.data.dataset.run", lambda argv: seen.append(argv) or 1)
        assert main(["dataset", "check", "--json"]) == 1
        assert seen == [["check", "--json"]]

    def test_a_bug_of_ours_is_not_dressed_up_as_a_users_mistake(self, monkeypatch):
        monkeypatch.setattr("flowerml.cli.commands.experiments.train.run", lambda _argv: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            main(["train"])

    def test_help_and_version(self, capsys):
        assert main(["--help"]) == 0
        shown = capsys.readouterr().out
        assert all(f"  {name}" in shown and about in shown for name, about in COMMANDS.items())
        assert main([]) == 2
        assert capsys.readouterr().out == shown
        assert main(["--version"]) == 0
        assert capsys.readouterr().out == f"{flowerml.__version__}\n"


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


def command(script, *words, options=()):
    """Run an entry point as a person does. Returns exit code, stdout, stderr without the import times, modules
    imported.
    """
    environment = {**os.environ, "COLUMNS": "1000"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *options, f"entrypoints/{script}.py", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    times = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    said = "".join(f"{line}\n" for line in done.stderr.splitlines() if not line.startswith("import time:"))
    return done.returncode, done.stdout, said, {line.rsplit("|", 1)[1].strip() for line in times}


def heavy(modules):
    """The libraries that cost seconds to import, among `modules`."""
    return {name.split(".")[0] for name in modules} & {
        "torch",
        "torchvision",
        "timm",
        "open_clip",
        "mlflow",
        "sklearn",
        "matplotlib",
        "pandas",
    }


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


class TestEntryPoints:
    """A mistake ends with exit code 2 and one line, before torch and mlflow are imported."""

    @pytest.mark.parametrize(
        ("script", "words", "line"),
        [
            ("train", "--lr-head abc", "error: --lr-head is 'abc'. Allowed: number, > 0, <= 10, or auto\n"),
            (
                "train",
                "--no-lr-head",
                "error: flag '--no-lr-head' is unknown. Did you mean --lr-head? flowerml train --help lists them\n",
            ),
            (
                "train",
                "--model clip_vitl14 --img_size 225",
                (
                    "error: --img-size 225 does not fit clip_vitl14: allowed are multiples of its patch 14, like 224 or"
                    " 238\n"
                ),
            ),
            (
                "eval",
                "--checkpoint x --workers two",
                "error: --workers is 'two'. Allowed: whole number, >= 0, <= 256, or auto\n",
            ),
            ("dataset", "make --size 3", "error: --size is '3'. Allowed: whole number, 32 to 2048\n"),
        ],
    )
    def test_wrong_input(self, script, words, line):
        code, shown, said, modules = command(script, *words.split())
        assert (code, shown, said) == (2, "", line)
        assert "flowerml.errors" in modules
        assert heavy(modules) == set()

    def test_a_python_without_the_packages_says_what_to_do(self):
        """The system's Python instead of the environment's: one line with the remedy, no traceback."""
        code, shown, said, _ = command("train", "--help", options=["-S"])
        assert (code, shown) == (2, "")
        assert said.startswith("error: ")
        assert (
            "ut the project's environment first on PATH: export PATH=" in said
        )  # behind "Run `make setup`, then" where there is none
        assert said.count("\n") == 1

    def test_importing_the_package_costs_no_torch(self):
        """`import flowerml` offers the loaders and predictors without loading them."""
        code = "import flowerml, sys; print(sorted({'torch', 'mlflow', 'numpy'} & set(sys.modules)), *flowerml.__all__)"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
        )
        assert (
            done.stdout == "[] __version__ load_cnn_model load_ensemble load_relation_model load_vit_model predict"
            " predict_proba predict_relation predict_set\n"
        )


class TestOtherNames:
    @pytest.mark.parametrize(
        ("words", "hint"),
        [
            ("train --learning_rate 1e-3", "--lr-head or --lr-backbone"),
            ("train --lr 1e-3", "--lr-head or --lr-backbone"),
            ("train --arch resnet18", "--model"),
            ("train --num_epochs 3", "--epochs"),
            ("train --warmup 3", "--warmup-epochs"),
            ("train --image-size 224", "--img-size"),
            ("sweep --n_trials 3", "--trials"),
            ("campaign --plan tp3 --data x", "--train-dir"),
        ],
    )
    def test_what_other_trainers_call_a_setting_is_understood(self, words, hint, capsys):
        assert run_command(words.split()[0], words.split()[1:]) == 2
        assert f"is unknown. Did you mean {hint}?" in capsys.readouterr().err

    @pytest.mark.parametrize("words", ["train --check true", "train --foo 1", "export --quux 1"])
    def test_nothing_is_suggested_where_nothing_is_near(self, words, capsys):
        assert run_command(words.split()[0], words.split()[1:]) == 2
        assert "Did you mean" not in capsys.readouterr().err

    def test_a_flag_without_value_takes_true_and_false_as_mlflow_run_gives_them(self):
        parser = CommandParser(prog="x")
        parser.add_argument("--check", action="store_true")
        parser.add_argument("--name")
        for words, check in (
            (["--check"], True),
            (["--check", "true"], True),
            (["--check", "True", "--name", "true"], True),
            (["--check=false"], False),
            (["--name", "false", "--check", "false"], False),
        ):
            assert parser.parse(words).check is check, words
        with pytest.raises(UserError, match="'maybe' is unknown"):
            parser.parse(["--check", "maybe"])
