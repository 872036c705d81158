"""One clear line for a value that does not fit: flag, value, allowed range and unit, nearest right word."""

import shlex

import pytest
from pydantic import ValidationError

from flowerml.errors import UserError
from flowerml.settings import Settings, known_models, resolve
from flowerml.settings.declaration import fields
from flowerml.settings.errors import (
    allowed_values,
    allowed_words,
    did_you_mean,
    first_error,
    flag_name,
    invalid_value,
    type_name,
)
from flowerml.settings.flags import CommandParser, add_settings

MODELS = f"{', '.join(known_models())}, timm:NAME, openclip:ARCH[/TAG] or relation:timm:NAME"


def message(line):
    """What the person who typed `line` behind `train` reads."""
    parser = CommandParser(prog="flowerml train")
    add_settings(parser)
    with pytest.raises(UserError) as caught:
        resolve(vars(parser.parse(shlex.split(line))))
    assert caught.value.exit_code == 2
    return str(caught.value)


WRONG = {
    # numbers
    "--lr-head abc": "--lr-head is 'abc'. Allowed: number, > 0, <= 10, or auto",
    "--lr-head 0": "--lr-head is '0'. Allowed: number, > 0, <= 10, or auto",
    "--lr-head=-1e-3": "--lr-head is '-1e-3'. Allowed: number, > 0, <= 10, or auto",
    "--lr-head -0.001": "--lr-head is '-0.001'. Allowed: number, > 0, <= 10, or auto",
    "--lr-head -1e-3": "--lr-head is '-1e-3'. Allowed: number, > 0, <= 10, or auto",
    "--lr_backbone 1e-4x": "--lr-backbone is '1e-4x'. Allowed: number, >= 0, <= 10, or auto",
    "--weight-decay nan": "--weight-decay is 'nan'. Allowed: number, >= 0, <= 10, or auto",
    "--llrd 1.5": "--llrd is '1.5'. Allowed: number, > 0, <= 1, or auto",
    "--val-split 1": "--val-split is '1'. Allowed: number, >= 0, < 1",
    "--val-split 20%": "--val-split is '20%'. Allowed: number, >= 0, < 1",
    "--mixup ''": "--mixup is nothing. Allowed: number, >= 0, <= 10, or auto",
    "--grad-clip inf": "--grad-clip is 'inf'. Allowed: number, >= 0, <= 1000000.0",
    "--crop-pct 1.1": "--crop-pct is '1.1'. Allowed: number, > 0.1, <= 1, or auto",
    # whole numbers, with their units
    "--epochs 0": "--epochs is '0'. Allowed: whole number, >= 1, <= 10000 epochs, or auto",
    "--epochs 2.5": "--epochs is '2.5'. Allowed: whole number, >= 1, <= 10000 epochs, or auto",
    "--epochs=": "--epochs is nothing. Allowed: whole number, >= 1, <= 10000 epochs, or auto",
    "--batch-size 1e2": "--batch-size is '1e2'. Allowed: whole number, >= 1, <= 65536 pictures, or auto",
    "--img-size 8": "--img-size is '8'. Allowed: whole number, >= 16, <= 2048 px, or auto",
    "--seed -1": "--seed is '-1'. Allowed: whole number, >= 0, <= 2147483648",
    "--randaugment 31": "--randaugment is '31'. Allowed: whole number, >= 0, <= 30, or auto",
    "--workers none": "--workers is 'none'. Allowed: whole number, >= 0, <= 256, or auto",
    "--stop-epoch 0": "--stop-epoch is '0'. Allowed: whole number, >= 1, <= 10000 epochs, or auto",
    # words
    "--optimizer adam": "--optimizer is 'adam'. Did you mean adamw? Allowed: adamw, sgd",
    "--scheduler cosin": "--scheduler is 'cosin'. Did you mean cosine? Allowed: cosine, plateau, constant",
    "--scheduler Plateau": "--scheduler is 'Plateau'. Did you mean plateau? Allowed: cosine, plateau, constant",
    "--class-weights balance": (
        "--class-weights is 'balance'. Did you mean balanced? Allowed: none, balanced, effective"
    ),
    "--monitor val_acc": (
        "--monitor is 'val_acc'. Did you mean val_accuracy? Allowed: val_accuracy, val_macro_f1, val_mean_recall,"
        " val_loss"
    ),
    "--bad-images skp": "--bad-images is 'skp'. Did you mean skip? Allowed: stop, skip",
    "--interpolation bicubik": (
        "--interpolation is 'bicubik'. Did you mean bicubic? Allowed: bilinear, bicubic, or auto"
    ),
    "--amp maybe": "--amp is 'maybe'. Allowed: true or false",
    "--amp tru": "--amp is 'tru'. Did you mean true? Allowed: true or false",
    "--ema=": "--ema is nothing. Allowed: true or false",
    # text of a form, and three numbers
    "--device gpu": "--device is 'gpu'. Allowed: cpu, cuda, cuda:N, mps, or auto",
    "--oversample 100": (
        '--oversample is \'100\'. Allowed: none or "COUNT:TIMES,..." with TIMES up to 100, for example "100:3,500:2"'
    ),
    "--weights=": "--weights is nothing. Allowed: hub, none, PATH of a .safetensors or .pth",
    "--train-dir=": "--train-dir is nothing. Allowed: a path, or s3://… or https://… without user, password and query",
    "--train-dir=https://u:p@h/x.csv": (
        "--train-dir is 'https://***@h/x.csv'. Allowed: a path, or s3://… or https://… without user, password and query"
    ),
    "--mean 0.5,0.5": "--mean is '0.5,0.5'. Allowed: three numbers R,G,B, or auto",
    "--mean a,b,c": "--mean is 'a,b,c'. Allowed: three numbers R,G,B, or auto",
    "--model convnextv2_lareg": (
        f"--model 'convnextv2_lareg' is unknown. Did you mean convnextv2_large? Allowed: {MODELS}"
    ),
    "--model=": f"--model '' is unknown. Allowed: {MODELS}",
    # flags
    "--lr-haed 1e-3": "flag '--lr-haed' is unknown. Did you mean --lr-head? flowerml train --help lists them",
    "--lr_haed=1e-3": "flag '--lr-haed' is unknown. Did you mean --lr-head? flowerml train --help lists them",
    "--modle clip_vitl14": "flag '--modle' is unknown. Did you mean --model? flowerml train --help lists them",
    "--Epochs 3": "flag '--Epochs' is unknown. Did you mean --epochs? flowerml train --help lists them",
    "-epochs 3": "flag '-epochs' is unknown. Did you mean --epochs? flowerml train --help lists them",
    "--epoch 3": "flag '--epoch' is unknown. Did you mean --epochs? flowerml train --help lists them",
    "--batchsize 3": "flag '--batchsize' is unknown. Did you mean --batch-size? flowerml train --help lists them",
    "--no-lr-head": "flag '--no-lr-head' is unknown. Did you mean --lr-head? flowerml train --help lists them",
    "data/train": "word 'data/train' is unknown. flowerml train --help lists them",
    "--epochs": "argument --epochs: expected one argument. flowerml train --help lists the flags",
    # two that are each in range and can't go together
    "--epochs 2 --warmup-epochs 3": "--warmup-epochs 3 is longer than the run (--epochs 2): lower it or train longer",
    "--epochs 2 --freeze_backbone_epochs 3": (
        "--freeze-backbone-epochs 3 is longer than the run (--epochs 2): lower it or train longer"
    ),
    "--stop-epoch 46": "--stop-epoch 46 lies behind the schedule's end (--epochs 45)",
    "--mixup 0.2 --model relation_resnet18": (
        "--mixup 0.2: not for pairs of boxed objects (relation_resnet18): only --flip moves picture and boxes together"
    ),
    "--randaugment 9 --model relation:timm:resnet18": (
        "--randaugment 9: not for pairs of boxed objects (relation:timm:resnet18): only --flip moves picture and boxes"
        " together"
    ),
    "--temperature 0.1": (
        "--temperature is for pairs of boxed objects, and convnextv2_large takes whole pictures: leave it out"
    ),
    "--no-cache-features --model clip_vitb32": (
        "--cache-features is for pairs of boxed objects, and clip_vitb32 takes whole pictures: leave it out"
    ),
    "--accumulate 33": "--accumulate 33 is more than the --batch-size 32 it splits",
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_input_gets_exactly_this_line(line):
    found = message(line)
    assert found == WRONG[line]
    assert "\n" not in found


@pytest.mark.parametrize("line", ["--lr-head 'a\nb'", "--model 'a\nb'", "--optimizer 'a\nb'", "'--a\nb'", "'a\nb'"])
def test_one_line_whatever_was_typed(line):
    assert "\n" not in message(line)


def test_of_several_mistakes_one_is_named_by_the_declarations_order():
    for line in ("--epochs 0 --lr-head abc", "--lr-head abc --epochs 0", "--lr-head abc --epochs 0 --warmup-epochs 50"):
        assert message(line) == WRONG["--epochs 0"]


def test_flag_is_the_hyphenated_name():
    assert flag_name("freeze_backbone_epochs") == "--freeze-backbone-epochs"
    assert flag_name("seed") == "--seed"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("optimizer", ("adamw", "sgd")),
        ("scheduler", ("cosine", "plateau", "constant")),
        ("interpolation", ("bilinear", "bicubic")),
        ("monitor", ("val_accuracy", "val_macro_f1", "val_mean_recall", "val_loss")),
        ("lr_head", ()),
        ("device", ()),
        ("test_dir", ()),
    ],
)
def test_choices_are_the_words_of_an_enumerated_setting(name, words):
    assert allowed_words(fields()[name]) == words


KINDS = {
    "true or false": {
        "amp",
        "ema",
        "trivialaugment",
        "overwrite",
        "compile",
        "cache_features",
        "probe",
        "grad_checkpointing",
    },
    "three numbers R,G,B": {"mean", "std"},
    "names, comma-separated": {"classes"},
    "whole number": {
        *(
            "img_size",
            "split_seed",
            "folds",
            "fold",
            "freeze_views",
            "epochs",
            "batch_size",
            "accumulate",
            "warmup_epochs",
            "plateau_patience",
            "freeze_backbone_epochs",
        ),
        *("unmixed_epochs", "randaugment", "patience", "min_epochs", "stop_epoch", "seed", "workers"),
        *(
            "checkpoint_every_steps",
            "keep_checkpoints",
            "keep_epochs",
            "lora_rank",
            "lease_seconds",
            "embedding",
            "gpus",
        ),
    },
    "number": {
        *(
            "crop_pct",
            "dropout",
            "drop_path",
            "val_split",
            "lr_head",
            "lr_backbone",
            "weight_decay",
            "llrd",
            "plateau_factor",
            "min_lr",
        ),
        *("grad_clip", "label_smoothing", "mixup", "cutmix", "random_erasing", "crop_scale", "color_jitter", "sam_rho"),
        *(
            "effective_beta",
            "focal_gamma",
            "logit_adjustment",
            "checkpoint_every_minutes",
            "temperature",
            "spatial_dropout",
            "flip",
            "cache_images_gb",
            "max_minutes",
        ),
    },
    "text": {
        "fitted_steps",
        *(
            "model",
            "weights",
            "interpolation",
            "train_dir",
            "test_dir",
            "bad_images",
            "duplicates",
            "optimizer",
            "tf32",
            "scheduler",
            "class_weights",
        ),
        *(
            "oversample",
            "monitor",
            "output_dir",
            "experiment",
            "run_name",
            "device",
            "resume",
            "runs_root",
            "on_launcher_death",
        ),
        *("annotations", "test_annotations", "wording", "box_features", "augment_backend", "cache_images"),
        "head_init",
    },
}


@pytest.mark.parametrize("words", KINDS)
def test_kind_says_every_settings_type_in_words(words):
    assert {name for name, field in fields().items() if type_name(field) == words} == KINDS[words]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("val_split", "number, >= 0, < 1"),
        ("llrd", "number, > 0, <= 1"),
        ("workers", "whole number, >= 0, <= 256"),
        ("optimizer", "adamw, sgd"),
        ("device", "cpu, cuda, cuda:N, mps"),
        ("amp", "true or false"),
        ("run_name", "text, up to 250 characters"),
        ("output_dir", "text"),
    ],
)
def test_allowed_says_type_and_range(name, words):
    assert allowed_values(fields()[name]) == words


def test_nearest_is_the_one_word_that_is_near_or_nothing():
    words = ("--lr-head", "--lr-backbone", "--llrd")
    assert did_you_mean("--lr-haed", words) == " Did you mean --lr-head?"
    assert did_you_mean("--LR-BACKBONES", words) == " Did you mean --lr-backbone?"
    assert did_you_mean("zzz", words) == ""
    assert did_you_mean("zzz", ()) == ""


def test_bad_value_shows_typed_values_too():
    assert invalid_value("epochs", 0) == "--epochs is 0. Allowed: whole number, >= 1, <= 10000 epochs, or auto"
    assert invalid_value("amp", None) == "--amp is None. Allowed: true or false"


def test_first_problem_names_an_unknown_setting_and_its_neighbour():
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({**resolve({})[0].model_dump(), "warmup_epoch": 3})
    assert first_error(caught.value, {}) == "setting 'warmup_epoch' is unknown. Did you mean warmup_epochs?"
