"""Bad input, one row each: what was typed, the one line that answers it; and that nothing is left open or half done.

The second table is what looks bad and is not: it must work. Folders, files and places for results have tables of their
own beside this one.
"""

import shutil

import pytest

from flowerml.cli.main import run_command
from tests.cli.bad_input import damage as spoil
from tests.cli.bad_input import rows as bad
from tests.cli.bad_input.rows import Case

FLAGS = {
    "unknown command": Case("trian", "command 'trian' is unknown. Did you mean train? Allowed: train, eval, …dataset"),
    "unknown flag": Case(
        "train --lr-haed 1", "flag '--lr-haed' is unknown. Did you mean --lr-head? flowerml train --help lists them"
    ),
    "unknown flag of eval": Case(
        "eval --checkpoint x --spilt val",
        "flag '--spilt' is unknown. Did you mean --split? flowerml eval --help lists them",
    ),
    "stray word": Case("train daisy", "word 'daisy' is unknown. flowerml train --help lists them"),
    "no checkpoint": Case(
        "eval", "the following arguments are required: --checkpoint. flowerml eval --help lists the flags"
    ),
    "no value": Case(
        "train --epochs", "argument --epochs: expected one argument. flowerml train --help lists the flags"
    ),
    "empty value": Case(
        "train --epochs ''", "--epochs is nothing. Allowed: whole number, >= 1, <= 10000 epochs, or auto"
    ),
    "empty path": Case(
        "train --train-dir ''",
        "--train-dir is nothing. Allowed: a path, or s3://… or https://… without user, password and query",
    ),
    "value for --json": Case(
        "train --json=yes", "argument --json: ignored explicit argument 'yes'. flowerml train --help lists the flags"
    ),
    "above the range": Case("train --val-split 1.5", "--val-split is '1.5'. Allowed: number, >= 0, < 1"),
    "below zero": Case("train --lr-head -1e-3", "--lr-head is '-1e-3'. Allowed: number, > 0, <= 10, or auto"),
    "seed below zero": Case("train --seed -1", "--seed is '-1'. Allowed: whole number, >= 0, <= 2147483648"),
    "workers below zero": Case("train --workers -1", "--workers is '-1'. Allowed: whole number, >= 0, <= 256, or auto"),
    "1_0 epochs": Case(
        "train --epochs 1_0", "--epochs is '1_0'. Allowed: whole number, >= 1, <= 10000 epochs, or auto"
    ),
    "1_0 as a rate": Case("train --lr-head 1_0", "--lr-head is '1_0'. Allowed: number, > 0, <= 10, or auto"),
    "1_0 in the mean": Case("train --mean 1_0,1,1", "--mean is '1_0,1,1'. Allowed: three numbers R,G,B, or auto"),
    "1.5 epochs": Case(
        "train --epochs 1.5", "--epochs is '1.5'. Allowed: whole number, >= 1, <= 10000 epochs, or auto"
    ),
    "² epochs": Case("train --epochs ²", "--epochs is '²'. Allowed: whole number, >= 1, <= 10000 epochs, or auto"),
    "nan": Case("train --lr-head nan", "--lr-head is 'nan'. Allowed: number, > 0, <= 10, or auto"),
    "infinite": Case("train --weight-decay 1e999", "--weight-decay is '1e999'. Allowed: number, >= 0, <= 10, or auto"),
    "true as a number": Case("train --dropout true", "--dropout is 'true'. Allowed: number, >= 0, < 1, or auto"),
    "neither true nor false": Case("train --amp maybe", "--amp is 'maybe'. Allowed: true or false"),
    "no choice": Case("train --optimizer adam", "--optimizer is 'adam'. Did you mean adamw? Allowed: adamw, sgd"),
    "oversample": Case(
        "train --oversample 100x3",
        '--oversample is \'100x3\'. Allowed: none or "COUNT:TIMES,..." with TIMES up to 100, for example "100:3,500:2"',
    ),
    "oversample without end": Case(  # with a folder that is not there: else it fills the memory before anything is said
        "train --oversample 100:999999999999 --train-dir nowhere",
        "--oversample is '100:999999999999'. Allowed: none or \"COUNT:TIMES,...\" with TIMES up to 100, for example"
        ' "100:3,500:2"',
    ),
    "two means": Case("train --mean 0.5,0.5", "--mean is '0.5,0.5'. Allowed: three numbers R,G,B, or auto"),
    "std 0": Case("train --std 0,1,1", "--std 0.0,1.0,1.0: every number must be above 0"),
    "frozen longer than the run": Case(
        "train --freeze-backbone-epochs 2",
        "--freeze-backbone-epochs 2 is longer than the run (--epochs 1): lower it or train longer",
    ),
    "more parts than pictures": Case(
        "train --accumulate 33", "--accumulate 33 is more than the --batch-size 32 it splits"
    ),
    "plateau without validation": Case(
        "train --scheduler plateau --val-split 0",
        "--scheduler plateau needs a validation loss, and --val-split is 0: use cosine or constant, or hold some out",
    ),
    "stop behind the end": Case("train --stop-epoch 2", "--stop-epoch 2 lies behind the schedule's end (--epochs 1)"),
    "part of the split": Case(
        "eval --checkpoint x --split vall",
        "argument --split: invalid choice: 'vall' (choose from 'train', 'val', 'all'). Did you mean val? …",
    ),
    "two folders": Case(
        "eval --checkpoint x --train-dir a --test-dir b",
        "--test-dir and --train-dir exclude each other: the first names pictures outside the split, the second those"
        " of it",
    ),
    "eval: workers below zero": Case(
        "eval --checkpoint x --workers -1", "--workers is '-1'. Allowed: whole number, >= 0…"
    ),
    "predict: workers below zero": Case(
        "predict x --model x --workers -1", "--workers is '-1'. Allowed: whole number, >= 0…"
    ),
    "eval: ² workers": Case("eval --checkpoint x --workers ²", "--workers is '²'. Allowed: whole number, >= 0…"),
    "eval: 9999 workers": Case(
        "eval --checkpoint x --workers 9999", "--workers is '9999'. Allowed: whole number, >= 0, <= 256, or auto"
    ),
    "dataset: action": Case(
        "dataset chek", "argument action: invalid choice: 'chek' (choose from …'check'…). Did you mean check? …"
    ),
    "dataset: size": Case(
        "dataset make --train-dir new --size 31", "--size is '31'. Allowed: whole number, 32 to 2048"
    ),
}

MODELS = {
    "unknown model": Case(
        "train --model convnextv2_atoo",
        "--model 'convnextv2_atoo' is unknown. Did you mean convnextv2_atto? Allowed: …, openclip:ARCH[/TAG] or"
        " relation:timm:NAME",
    ),
    "unknown to timm": Case(
        "train --model timm:mobilenetv2_1000",
        "--model timm:mobilenetv2_1000: timm has no 'mobilenetv2_1000'. Near it: mobilenetv2_100, …",
    ),
    "unknown weights of timm": Case(
        "train --model timm:resnet18.nosuch",
        "--model timm:resnet18.nosuch: timm has no weights 'nosuch' of resnet18; it has …a1_in1k…",
    ),
    "unknown to open_clip": Case(
        "train --model openclip:ViT-Z-99", "--model openclip:ViT-Z-99: open_clip has no 'ViT-Z-99'.…"
    ),
    "unknown weights of open_clip": Case(
        "train --model openclip:ViT-S-32/nosuch --weights hub",
        "no published weights 'nosuch' for openclip:ViT-S-32/nosuch (published: none): give --weights PATH or --weights"
        " none",
    ),
    "no published weights": Case(
        "train --model clip_vits32 --weights hub",
        "no published weights … for clip_vits32 (published: none): give --weights PATH or --weights none",
    ),
    "hub out of reach": Case(
        "train --weights hub",
        "the pretrained weights of convnextv2_atto can't be fetched (…): give the weights as a file (--weights PATH),"
        " fill this machine's cache on one with a network, or start from scratch (--weights none)",
        env={"HF_HUB_OFFLINE": "1"},
    ),
    "size between patches": Case(
        "train --model clip_vits32 --img-size 225",
        "--img-size 225 does not fit clip_vits32: allowed are multiples of its patch 32, like 224 or 256",
    ),
    "size below a patch": Case(
        "train --model clip_vits32 --img-size 16",
        "--img-size 16 does not fit clip_vits32: allowed are multiples of its patch 32, like 32",
    ),
    "size between a library's patches": Case(
        "train --model timm:test_vit --img-size 100",
        "--img-size 100 does not fit timm:test_vit (Input height (100) should be divisible by patch size (16).)",
    ),
    "size below a library's CNN": Case(
        "train --model timm:test_convnext --img-size 16", "--img-size 16 does not fit timm:test_convnext (…)"
    ),
    "one picture at a time and a BatchNorm": Case(
        "train --model timm:mobilenetv2_050 --batch-size 1",
        "--batch-size 1: timm:mobilenetv2_050 has a BatchNorm that needs at least 2 pictures at a time at --img-size"
        " 32. Allowed: 2 or more; or a larger --img-size",
    ),
    "size below a CNN": Case("train --img-size 31", "--img-size 31 does not fit convnextv2_atto…"),
    "drop-path of a tower": Case(
        "train --model clip_vits32 --drop-path 0.1",
        "--drop-path 0.1: clip_vits32 has no stochastic depth; leave it at 0",
    ),
    "cuda without one": Case("train --device cuda", "--device cuda: this machine has cpu", spoil.no_gpu),
    "cuda:99": Case("train --device cuda:99", "--device cuda:99: this machine has cpu…"),
    "device gpu": Case("train --device gpu", "--device is 'gpu'. Allowed: cpu, cuda, cuda:N, mps, or auto"),
    "eval: device gpu": Case(
        "eval --checkpoint model.pth --device gpu", "--device gpu: this machine has cpu…", spoil.changed()
    ),
}


@pytest.mark.parametrize("case", bad.rows(FLAGS | MODELS))
def test_bad_input_is_one_line_and_leaves_nothing_open(case, place, capfd, monkeypatch):
    bad.run_case(case, place, capfd, monkeypatch)


ODD = ["my photos", "été à 花", "new\nline", "-dash", "'quotes' \"$HOME\"", "a#b%20c;d"]


@pytest.mark.parametrize("name", ODD)
def test_an_odd_folder_is_as_good_as_any(name, place, capfd):
    """The folder, a class and a picture of this name: `dataset check` finds nothing to mend."""
    shutil.copytree(place.root / "flowers", place.root / name)
    (place.root / name / "rose").rename(place.root / name / name)
    (place.root / name / name / "rose_0000.jpg").rename(place.root / name / name / f"{name}.JPG")
    assert run_command("dataset", ["check", "--train-dir", name, "--classes", "folders"]) == 0
    assert "60 pictures" in capfd.readouterr().out


def test_a_run_of_odd_names_only(place, capfd):
    """Paths with spaces, accents and newlines; pictures of one pixel and a stripe."""
    data = place.own_flowers().rename(place.root / "-my photos\nd'été")
    for number, (width, height) in enumerate(((1, 1), (1, 9000), (9000, 1))):
        (data / "rose" / f"-{number}\n é.png").write_bytes(spoil.flat(width, height))
    words = ["--train-dir", data.name, "--output-dir", "-out é\n2", "--experiment", "été\n1", "--run-name", "a\nb 'c'"]
    assert run_command("train", [*bad.command_of("train")[1], *words]) == 0, capfd.readouterr().err
    assert (place.root / "-out é\n2" / "best.pth").is_file()
    assert bad.runs(place.root) == ["FINISHED"]
