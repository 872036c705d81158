"""Bad input, one row each: what was typed or lay there, the one line that answers it; and that nothing is left open or half done.

The second table is what looks bad and is not: it must work.
"""

import shutil

import pytest
import torch
from mlflow.tracking import MlflowClient

from flowerml.cli.main import run_command
from tests.cli import bad_input as bad
from tests.cli.bad_input import Case

LONG = "x" * 300  # longer than a file's name may be
NO_FOLDER = "does not exist: it must be a folder with one sub-folder of pictures per class"
MISSING = (
    "no folder for daisy, dandelion, rose, sunflower, tulip; expected daisy, dandelion, rose, sunflower, tulip; found no sub-folders. Name "
    "another folder, or, where a new model is trained, other classes: --classes a,b, or --classes folders for all of them"
)
ELSEWHERE = "Choose another folder, or free space or permissions there"
ONE_BAD = "1 of 61 pictures can't be read (mend or remove them, or go on without them: --bad-images skip):\n"
NO_WEIGHTS = "no such file. Allowed: hub, none, or the path of a .safetensors or .pth file"
A_FOLDER = NO_WEIGHTS.replace("no such file", "it is a folder")
NO_SPLIT = "each side needs one. Add pictures, or train on everything with --val-split 0"
NO_KIND = (
    "is of a kind that is not taken. Allowed: http://HOST:PORT, https://HOST, sqlite:///FILE.db, postgresql+psycopg2://USER@HOST/DATABASE. "
    "Set MLFLOW_TRACKING_URI to one of these"
)
NO_ANSWER = "does not answer (…): start it, or set MLFLOW_TRACKING_URI"
REFUSED = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
LATIN = "'caf\udce9'"  # what a command line in Latin-1 is for Python

FLAGS = {
    "unknown command": Case("trian", "command 'trian' is unknown. Did you mean train? Allowed: train, eval, …dataset"),
    "unknown flag": Case("train --lr-haed 1", "flag '--lr-haed' is unknown. Did you mean --lr-head? flowerml train --help lists them"),
    "unknown flag of eval": Case(
        "eval --checkpoint x --spilt val", "flag '--spilt' is unknown. Did you mean --split? flowerml eval --help lists them"
    ),
    "stray word": Case("train daisy", "word 'daisy' is unknown. flowerml train --help lists them"),
    "no checkpoint": Case("eval", "the following arguments are required: --checkpoint. flowerml eval --help lists the flags"),
    "no value": Case("train --epochs", "argument --epochs: expected one argument. flowerml train --help lists the flags"),
    "empty value": Case("train --epochs ''", "--epochs is nothing. Allowed: whole number, >= 1, <= 10000 epochs, or auto"),
    "empty path": Case("train --train-dir ''", "--train-dir is nothing. Allowed: text"),
    "value for --json": Case(
        "train --json=true", "argument --json: ignored explicit argument 'true'. flowerml train --help lists the flags"
    ),
    "above the range": Case("train --val-split 1.5", "--val-split is '1.5'. Allowed: number, >= 0, < 1"),
    "below zero": Case("train --lr-head -1e-3", "--lr-head is '-1e-3'. Allowed: number, > 0, <= 10, or auto"),
    "seed below zero": Case("train --seed -1", "--seed is '-1'. Allowed: whole number, >= 0, <= 2147483648"),
    "workers below zero": Case("train --workers -1", "--workers is '-1'. Allowed: whole number, >= 0, <= 256, or auto"),
    "1_0 epochs": Case("train --epochs 1_0", "--epochs is '1_0'. Allowed: whole number, >= 1, <= 10000 epochs, or auto"),
    "1_0 as a rate": Case("train --lr-head 1_0", "--lr-head is '1_0'. Allowed: number, > 0, <= 10, or auto"),
    "1_0 in the mean": Case("train --mean 1_0,1,1", "--mean is '1_0,1,1'. Allowed: three numbers R,G,B, or auto"),
    "1.5 epochs": Case("train --epochs 1.5", "--epochs is '1.5'. Allowed: whole number, >= 1, <= 10000 epochs, or auto"),
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
        '--oversample is \'100:999999999999\'. Allowed: none or "COUNT:TIMES,..." with TIMES up to 100, for example "100:3,500:2"',
    ),
    "two means": Case("train --mean 0.5,0.5", "--mean is '0.5,0.5'. Allowed: three numbers R,G,B, or auto"),
    "std 0": Case("train --std 0,1,1", "--std 0.0,1.0,1.0: every number must be above 0"),
    "frozen longer than the run": Case(
        "train --freeze-backbone-epochs 2", "--freeze-backbone-epochs 2 is longer than the run (--epochs 1): lower it or train longer"
    ),
    "more parts than pictures": Case("train --accumulate 33", "--accumulate 33 is more than the --batch-size 32 it splits"),
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
        "--test-dir and --train-dir exclude each other: the first names pictures outside the split, the second those of it",
    ),
    "eval: workers below zero": Case("eval --checkpoint x --workers -1", "--workers is '-1'. Allowed: whole number, >= 0…"),
    "eval: ² workers": Case(
        "eval --checkpoint x --workers ²",
        "--workers is '²'. Allowed: whole number, >= 0…",
    ),
    "eval: 9999 workers": Case(
        "eval --checkpoint x --workers 9999",
        "--workers is '9999'. Allowed: whole number, >= 0, <= 256, or auto",
    ),
    "dataset: action": Case("dataset chek", "argument action: invalid choice: 'chek' (choose from …'check'…). Did you mean check? …"),
    "dataset: size": Case("dataset make --train-dir new --size 31", "--size is '31'. Allowed: whole number, 32 to 2048"),
}

MODELS = {
    "unknown model": Case(
        "train --model convnextv2_atoo",
        "--model 'convnextv2_atoo' is unknown. Did you mean convnextv2_atto? Allowed: …, timm:NAME or openclip:ARCH[/TAG]",
    ),
    "unknown to timm": Case(
        "train --model timm:mobilenetv2_1000",
        "--model timm:mobilenetv2_1000: timm has no 'mobilenetv2_1000'. Near it: mobilenetv2_100, …",
    ),
    "unknown weights of timm": Case(
        "train --model timm:resnet18.nosuch", "--model timm:resnet18.nosuch: timm has no weights 'nosuch' of resnet18; it has …a1_in1k…"
    ),
    "unknown to open_clip": Case("train --model openclip:ViT-Z-99", "--model openclip:ViT-Z-99: open_clip has no 'ViT-Z-99'.…"),
    "unknown weights of open_clip": Case(
        "train --model openclip:ViT-S-32/nosuch --weights hub",
        "no published weights 'nosuch' for openclip:ViT-S-32/nosuch (published: none): give --weights PATH or --weights none",
    ),
    "no published weights": Case(
        "train --model clip_vits32 --weights hub",
        "no published weights … for clip_vits32 (published: none): give --weights PATH or --weights none",
    ),
    "hub out of reach": Case(
        "train --weights hub",
        "the pretrained weights of convnextv2_atto can't be fetched (…): give the weights as a file (--weights PATH), fill this machine's "
        "cache on one with a network, or start from scratch (--weights none)",
        env={"HF_HUB_OFFLINE": "1"},
    ),
    "size between patches": Case(
        "train --model clip_vits32 --img-size 225",
        "--img-size 225 does not fit clip_vits32: allowed are multiples of its patch 32, like 224 or 256",
    ),
    "size below a patch": Case(
        "train --model clip_vits32 --img-size 16", "--img-size 16 does not fit clip_vits32: allowed are multiples of its patch 32, like 32"
    ),
    "size below a library's CNN": Case(
        "train --model timm:test_convnext --img-size 16", "--img-size 16 does not fit timm:test_convnext (…)"
    ),
    "size below a CNN": Case(
        "train --img-size 31",
        "--img-size 31 does not fit convnextv2_atto…",
    ),
    "drop-path of a tower": Case(
        "train --model clip_vits32 --drop-path 0.1", "--drop-path 0.1: clip_vits32 has no stochastic depth; leave it at 0"
    ),
    "cuda without one": Case("train --device cuda", "--device cuda: this machine has cpu", bad.no_gpu),
    "cuda:99": Case("train --device cuda:99", "--device cuda:99: this machine has cpu…"),
    "device gpu": Case("train --device gpu", "--device is 'gpu'. Allowed: cpu, cuda, cuda:N, mps, or auto"),
    "eval: device gpu": Case("eval --checkpoint model.pth --device gpu", "--device gpu: this machine has cpu…", bad.changed()),
}

FOLDERS = {
    "no folder": Case("train --train-dir nowhere", f"the pictures' folder 'nowhere' {NO_FOLDER}"),
    "check: no folder": Case("dataset check --train-dir nowhere", f"the pictures' folder 'nowhere' {NO_FOLDER}"),
    "a name too long": Case(f"train --train-dir {LONG}", f"the pictures' folder '{LONG}' …"),
    "a file": Case(
        "train --train-dir photos.zip",
        "the pictures' folder 'photos.zip' is a file: it must be a folder with one sub-folder of pictures per class",
        bad.with_file("photos.zip"),
    ),
    "an empty folder": Case("train --train-dir data", f"data: {MISSING}", bad.with_folders("data")),
    "no class folders": Case("train --train-dir data", f"data: {MISSING}", bad.with_file("data/photo.jpg")),
    "newline in the folder's name": Case("train --train-dir 'my\ndata'", rf"…my\ndata…: {MISSING}", bad.with_folders("my\ndata")),
    "a folder in Latin-1": Case(f"train --train-dir {LATIN}", r"--train-dir is 'caf\udce9'.…UTF-8…"),
    "a class missing": Case(
        "train --classes daisy,rose,orchid",
        "flowers: no folder for orchid; expected daisy, orchid, rose; found daisy, dandelion, rose, sunflower, tulip. Name another folder, "
        "or, where a new model is trained, other classes: --classes a,b, or --classes folders for all of them",
    ),
    "one class": Case("train --classes rose", "flowers: only one class (rose): a classifier needs at least two"),
    "a class twice": Case(
        "train --classes rose,rose,tulip",
        "--classes is 'rose,rose,tulip'. Allowed: names, comma-separated, each once, or auto",
    ),
    "a class without a name": Case("train --classes rose,,tulip", "--classes is 'rose,,tulip'. Allowed: names, comma-separated…, or auto"),
    "check: a class twice": Case(
        "dataset check --train-dir flowers --classes rose,rose,tulip",
        "--classes is 'rose,rose,tulip'. Allowed: names, comma-separated…",
    ),
    "check: a class without a name": Case(
        "dataset check --train-dir flowers --classes rose,,tulip",
        "--classes is 'rose,,tulip'. Allowed: names, comma-separated…",
    ),
    "an empty class": Case(
        "train --train-dir data --classes lily,rose",
        "data: no pictures (.bmp, .gif, .jpeg, .jpg, .png, .tif, .tiff, .webp) in the folder of lily, rose",
        bad.with_folders("data/lily", "data/rose"),
    ),
    "two folders of one class": Case(
        "train --train-dir data",
        "data: rose and roses both mean class rose: merge them into one folder",
        bad.with_picture("roses/1.jpg", b"x"),
    ),
    "a class that may not be read": Case("train --train-dir data", "data/rose: Permission denied", bad.locked("rose")),
    "a class of one picture": Case(
        "train --train-dir data",
        f"class daisy can't be split: its 1 picture(s) form 1 group(s) of near-duplicates, and {NO_SPLIT}",
        bad.only_pictures({"daisy": 1, "dandelion": 3, "rose": 3, "sunflower": 3, "tulip": 3}),
    ),
    "a class of one picture thrice": Case(
        "train --train-dir data",
        f"class daisy can't be split: its 3 picture(s) form 1 group(s) of near-duplicates, and {NO_SPLIT}",
        bad.one_class_of(bad.flat(40, 30)),
    ),
    "a class of single pixels": Case(
        "train --train-dir data",
        f"class daisy can't be split: its 3 picture(s) form 1 group(s) of near-duplicates, and {NO_SPLIT}",
        bad.one_class_of(bad.flat(1, 1)),
    ),
    "a manifest in Latin-1": Case(
        "train --train-dir data",
        "data/manifest.csv: can't be read (…can't decode byte 0xe9…); mend it or take it out of the folder",
        bad.with_picture("manifest.csv", "class,file,near_dup_group\nrose,été.jpg,1\n".encode("latin-1")),
    ),
    "a manifest without end": Case(
        "train --train-dir data",
        "data/manifest.csv: can't be read (field larger than field limit (131072)); mend it or take it out of the folder",
        bad.with_picture("manifest.csv", b"class,file,near_dup_group\nrose," + b"x" * 200_000),
    ),
    "another folder's manifest": Case(
        "train --train-dir data",
        "data/manifest.csv: names none of the pictures here (columns class and file); mend it or take it out of the folder",
        bad.with_picture("manifest.csv", b"class,file,near_dup_group\nlily,1.jpg,1\n"),
    ),
    "no test folder": Case("train --test-dir nowhere", f"the pictures' folder 'nowhere' {NO_FOLDER}"),
    "a test folder of other classes": Case(
        "train --test-dir data",
        "data: no folder for daisy, dandelion, sunflower, tulip; expected daisy, dandelion, rose, sunflower, tulip; found rose. …",
        bad.only_pictures({"rose": 1}),
    ),
    "a bad picture in the test folder": Case(
        "train --test-dir data",
        "1 of 61 pictures…can't be read…:\n  'rose/none.jpg'\tthe file is empty",
        bad.with_picture("rose/none.jpg", b""),
    ),
    "the training folder as test folder": Case("train --test-dir flowers", "--test-dir flowers…--train-dir…"),
    "make: not an empty folder": Case(
        "dataset make --train-dir data",
        "--train-dir data exists and is not empty: drawings never mix with other pictures; name a new folder",
        bad.with_file("data/x"),
    ),
    "make: below a file": Case(
        "dataset make --train-dir file/set --per-class 1", f"can't write file/set/…: Not a directory. {ELSEWHERE}", bad.with_file("file")
    ),
    "make: full disk": Case(
        "dataset make --train-dir disk/set --per-class 20",
        f"can't write disk/set/…: No space left on device. {ELSEWHERE}",
        bad.mounted("size=64k"),
    ),
}

PICTURES = {
    "a web page": (b"<!DOCTYPE html><p>Not found", "not a picture in JPEG, PNG, WEBP, BMP, GIF, TIFF (it looks like a web page)"),
    "half a photo": (bad.half_a_photo(), "damaged: image file is truncated (… bytes not processed)"),
    "an empty file": (b"", "the file is empty"),
    "a text": (b"a photo of a rose", "not a picture in JPEG, PNG, WEBP, BMP, GIF, TIFF"),
    "a decompression bomb": (bad.bomb(), "the picture is over the limit of 89,478,485 pixels"),
}
FOLDERS |= {
    **{
        what: Case("train --train-dir data", f"{ONE_BAD}  'rose/bad.jpg'\t{reason}", bad.with_picture("rose/bad.jpg", data))
        for what, (data, reason) in PICTURES.items()
    },
    "a bad picture of an odd name": Case(
        "train --train-dir data",
        f"{ONE_BAD}  'rose/new\\nline é.jpg'\tnot a picture in JPEG, PNG, WEBP, BMP, GIF, TIFF",
        bad.with_picture("rose/new\nline é.jpg", b"x"),
    ),
    "a picture's name in Latin-1": Case(
        "train --train-dir data",
        f"{ONE_BAD}  'rose/caf\\udce9.jpg'\tthe file name is not valid UTF-8: rename it",
        bad.with_picture("rose/caf\udce9.jpg", b"x"),
    ),
    "a link to nothing": Case(
        "train --train-dir data", f"{ONE_BAD}  'rose/link.jpg'\tNo such file or directory", bad.with_link("rose/link.jpg", "nowhere.jpg")
    ),
    "a named pipe": Case(
        "train --train-dir data",
        f"{ONE_BAD}  'rose/pipe.jpg'\tnot a regular file",
        bad.with_pipe,
    ),
    "a picture that may not be read": Case(
        "train --train-dir data",
        f"{ONE_BAD.replace('61', '60')}  'rose/rose_0000.jpg'\tPermission denied",
        bad.locked("rose/rose_0000.jpg"),
    ),
    "skipping all of a class": Case(
        "train --train-dir data --classes rose,tulip,lily --bad-images skip",
        "data: no readable picture of lily:\n  'lily/1.jpg'\tthe file is empty",
        bad.with_picture("lily/1.jpg", b""),
    ),
}

WEIGHTS = {
    "no weights": Case("train --weights w.pth", f"--weights w.pth: {NO_WEIGHTS}"),
    "weights: a folder": Case("train --weights w", f"--weights w: {A_FOLDER}", bad.with_folders("w")),
    "weights: newline in the name": Case("train --weights 'my\nweights'", r"--weights …my\nweights…: no such file. …"),
    "weights: a name too long": Case(f"train --weights {LONG}", f"--weights {LONG}: …"),
    "weights: empty": Case(
        "train --weights w.pth",
        "--weights w.pth: can't be read (the file is empty)",
        bad.with_file("w.pth"),
    ),
    "weights: a text": Case(
        "train --weights w.safetensors", "--weights w.safetensors: can't be read (…)", bad.with_file("w.safetensors", b"hi")
    ),
    "weights: half": Case(
        "train --weights w.safetensors",
        "--weights w.safetensors: can't be read (…not fully covered…)",
        bad.half_of(bad.backbone(lambda tensors: None), "w.safetensors"),
    ),
    "weights: another model's": Case(
        "train --weights w.pth",
        "--weights w.pth: 138 of 138 tensors of this model are not in the file, the first is 'stem.0.weight': …another model",
        bad.torch_file("w.pth", {"layer1.weight": torch.zeros(4, 4)}),
    ),
    "weights: another shape": Case(
        "train --weights w.safetensors",
        "--weights w.safetensors: stem.0.weight is (1,) in the file and (40, 3, 4, 4) in the model",
        bad.backbone(lambda tensors: tensors.update({"stem.0.weight": torch.zeros(1)})),
    ),
    "weights: more than the model has": Case(
        "train --weights w.safetensors",
        "--weights w.safetensors: 1 tensors have no place in this model, the first is 'foreign.weight'",
        bad.backbone(lambda tensors: tensors.update({"foreign.weight": torch.zeros(1)})),
    ),
    "weights: not a number": Case(
        "train --weights w.safetensors",
        "the loss is nan at epoch 1, step 1, …, pictures …. Lower the learning rate, or look at these pictures",
        bad.backbone(lambda tensors: tensors["stem.0.weight"].fill_(torch.nan)),
        code=1,
    ),
    "weights: a list": Case(
        "train --weights w.pth",
        "--weights w.pth: holds no state dict (a mapping from names to tensors)",
        bad.torch_file("w.pth", [torch.zeros(1)]),
    ),
    "weights: numbers for names": Case(
        "train --weights w.pth",
        "--weights w.pth: holds no state dict (a mapping from names to tensors)",
        bad.torch_file("w.pth", {1: torch.zeros(1)}),
    ),
    "weights: code": Case(
        "train --weights w.pth",
        "--weights w.pth: …plain…",
        bad.pickled_code("w.pth"),
        hidden="weights_only",
    ),
}

CHECKPOINTS = {
    "checkpoint: no file": Case(
        "eval --checkpoint model.pth", "checkpoint model.pth: no such file. Give a run's best.pth or a delivered .pth"
    ),
    "checkpoint: a folder": Case(
        "eval --checkpoint model", "checkpoint model: it is a folder. Give a run's best.pth or a delivered .pth", bad.with_folders("model")
    ),
    "checkpoint: newline in the name": Case("eval --checkpoint 'my\nmodel'", r"checkpoint …my\nmodel…: no such file. …"),
    "checkpoint: a name too long": Case(f"eval --checkpoint {LONG}", f"checkpoint {LONG}: …"),
    "checkpoint: empty": Case("eval --checkpoint model.pth", "checkpoint model.pth: can't be read (…)", bad.with_file("model.pth")),
    "checkpoint: a text": Case(
        "eval --checkpoint model.pth", "checkpoint model.pth: can't be read (…)", bad.with_file("model.pth", b"no model")
    ),
    "checkpoint: half": Case(
        "eval --checkpoint model.pth", "checkpoint model.pth: can't be read (…)", bad.half_of(bad.changed(), "model.pth")
    ),
    "checkpoint: one bit flipped": Case(
        "eval --checkpoint model.pth", "checkpoint model.pth: can't be read (the part model/data/… is damaged)", bad.flipped
    ),
    "checkpoint: another program's": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: not written by flowerml (flowerml-checkpoint-1); weights of other origin go into --weights",
        bad.torch_file("model.pth", {"state_dict": {"layer1.weight": torch.zeros(1)}}),
    ),
    "checkpoint: code": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: holds more than plain weights and values: refused, as such a file can run code",
        bad.pickled_code("model.pth"),
    ),
    "checkpoint: delivered, without a split": Case(
        "eval --checkpoint model.pth",
        "model.pth carries no split (a delivered file): give the pictures with --test-dir FOLDER",
        bad.changed(lambda content: content.pop("split")),
    ),
    "checkpoint: split: a picture less": Case(
        "eval --checkpoint model.pth",
        "…model.pth…the stored split was changed by hand: its lists and contents do not fit each other",
        bad.changed(lambda content: content["split"]["val"].pop()),
    ),
    "checkpoint: split: a picture on the other side": Case(
        "eval --checkpoint model.pth",
        "…model.pth…the stored split was changed by hand: its digest does not fit its lists",
        bad.changed(lambda content: content["split"]["train"].append(content["split"]["val"].pop())),
    ),
    "checkpoint: split: a text": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: …",
        bad.changed(lambda content: content.update(split="train")),
    ),
    "checkpoint: settings: one too many": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: …resume…",
        bad.changed(lambda content: content["settings"].update(resume="true")),
    ),
    "checkpoint: settings: out of range": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: …batch…",
        bad.changed(lambda content: content["settings"].update(batch_size=0)),
    ),
    "checkpoint: settings: no seed": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: …seed…",
        bad.changed(lambda content: content["settings"].pop("seed")),
    ),
    "checkpoint: a tensor less": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: its weights do not fit convnextv2_atto (1 missing, first head.bias)",
        bad.changed(lambda content: content["state_dict"].pop("head.bias")),
    ),
    "checkpoint: fewer classes": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: its weights do not fit convnextv2_atto (head.weight is (5, 320), not (2, 320); …)",
        bad.changed(lambda content: (content.update(classes=["rose", "tulip"]), content.pop("prior"))),
    ),
    "checkpoint: shares of fewer classes": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: a part is not what flowerml-checkpoint-1 says (ValueError: prior has 4 shares for 5 classes)",
        bad.changed(lambda content: content["prior"].pop()),
    ),
    "checkpoint: an unknown library": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: a part is not what flowerml-checkpoint-1 says (ValueError: 'keras' is not a valid Library)",
        bad.changed(lambda content: content["model"].update(library="keras")),
    ),
    "checkpoint: an unknown model": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: …nosuch…",
        bad.changed(lambda content: content["model"].update(architecture="nosuch")),
    ),
    "checkpoint: an unknown interpolation": Case(
        "eval --checkpoint model.pth",
        "checkpoint model.pth: …nearest…",
        bad.changed(lambda content: content["input"].update(interpolation="nearest-ish")),
    ),
    "checkpoint: its folder gone": Case(
        "eval --checkpoint model.pth",
        f"the pictures' folder 'flowers' {NO_FOLDER}",
        lambda place: (place.checkpoint(), (place.root / "flowers").unlink()),
    ),
    "checkpoint: other pictures": Case(
        "eval --checkpoint model.pth --train-dir data",
        "data: none of the val pictures of model.pth is there: name the folder it was trained on with --train-dir, or evaluate on other "
        "pictures with --test-dir",
        lambda place: (place.checkpoint(), bad.only_pictures(dict.fromkeys(bad.FLOWERS, 1))(place)),
    ),
    "eval: no test folder": Case(
        "eval --checkpoint model.pth --test-dir nowhere", f"the pictures' folder 'nowhere' {NO_FOLDER}", bad.changed()
    ),
    "eval: a bad picture in the test folder": Case(
        "eval --checkpoint model.pth --test-dir data",
        "1 of 61 pictures…can't be read…:\n  'rose/none.jpg'\tthe file is empty",
        lambda place: (place.checkpoint(), bad.with_picture("rose/none.jpg", b"")(place)),
    ),
}

TRACKERS = {
    "nobody listens": Case("train", f"the MLflow tracking store http://127.0.0.1:1 {NO_ANSWER}", env=REFUSED),
    "eval: nobody listens": Case(
        "eval --checkpoint model.pth", f"the MLflow tracking store http://127.0.0.1:1 {NO_ANSWER}", bad.changed(), env=REFUSED
    ),
    "a password in the address": Case(
        "train",
        "the MLflow tracking store http://***@127.0.0.1:1 does not answer (Connection refused): start it, or set MLFLOW_TRACKING_URI",
        env=REFUSED | {"MLFLOW_TRACKING_URI": "http://team:secret@127.0.0.1:1"},
        hidden="secret",
    ),
    "an unknown kind of address": Case(
        "train",
        f"the MLflow tracking store gopher://flowers {NO_KIND}",
        env={"MLFLOW_TRACKING_URI": "gopher://flowers"},
    ),
    "a folder of the old kind": Case("train", f"the MLflow tracking store mlruns {NO_KIND}", env={"MLFLOW_TRACKING_URI": "mlruns"}),
    "a database that is a text": Case(
        "train",
        "the MLflow tracking store sqlite:///text.db does not answer (…file is not a database): start it, or set MLFLOW_TRACKING_URI",
        bad.with_file("text.db", b"not a database " * 1000),
        env={"MLFLOW_TRACKING_URI": "sqlite:///text.db"},
    ),
    "a database where no file can be": Case(
        "train",
        "the MLflow tracking store sqlite:////proc/none/mlflow.db does not answer (…No such file or directory…): start it, or set "
        "MLFLOW_TRACKING_URI",
        env={"MLFLOW_TRACKING_URI": "sqlite:////proc/none/mlflow.db"},
    ),
    "a deleted experiment": Case(
        "train",
        "the MLflow experiment 'flowers' was deleted: restore it (mlflow experiments restore) or choose another --experiment",
        bad.deleted_experiment,
    ),
    "eval: a deleted experiment": Case(
        "eval --checkpoint model.pth",
        "the MLflow experiment 'flowers' was deleted: restore it (mlflow experiments restore)",
        bad.deleted_experiment,
    ),
    "an experiment's name too long": Case(
        f"train --experiment {LONG}{LONG}", "--experiment is '…'. Allowed: text, up to 256 characters, or auto"
    ),
    "a run that is not there": Case(
        "train",
        f"MLFLOW_RUN_ID {'0' * 32} is no run of the MLflow tracking store sqlite:///…/mlflow.db: unset it, or set "
        "MLFLOW_TRACKING_URI to the store that has it",
        env={"MLFLOW_RUN_ID": "0" * 32},
    ),
    "a run name in Latin-1": Case(f"train --run-name {LATIN}", r"--run-name is 'caf\udce9'.…UTF-8…"),
}

PLACES = {
    "out: a file": Case("train", "…out is a file…", bad.with_file("out")),
    "out: below a file": Case(
        "train --output-dir file/out", f"can't write file/out/…: Not a directory. {ELSEWHERE}", bad.with_file("file")
    ),
    "out: where nothing can be made": Case(
        "train --output-dir /proc/out", f"can't write /proc/out/…: No such file or directory. {ELSEWHERE}"
    ),
    "out: a name too long": Case(f"train --output-dir {LONG}", f"can't write {LONG}/…: File name too long. {ELSEWHERE}"),
    "out: in Latin-1": Case(
        f"train --output-dir {LATIN} --run-name plain",
        r"--output-dir is 'caf\udce9'.…UTF-8…",
    ),
    "out: read-only": Case("train --output-dir disk/out", f"can't write disk/out/…: Read-only file system. {ELSEWHERE}", bad.mounted("ro")),
    "out: full": Case(
        "train --output-dir disk/out",
        f"can't write disk/out/best.pth: No space left on device. {ELSEWHERE}",
        bad.mounted("size=2m"),
        code=1,
    ),
    "out: a finished run": Case(
        "train",
        "out holds the finished run of just these settings (run …): choose another --output-dir, or replace it with --overwrite",
        bad.finished_run,
    ),
    "out: a run of other settings": Case(
        "train --dropout 0.5",
        "out holds a run of other settings (configuration …, seed 11; this one is …, seed 11): choose another "
        "--output-dir, or replace it with --overwrite",
        bad.finished_run,
    ),
    "out: somebody's best.pth": Case(
        "train",
        "out holds a best.pth of unknown origin: choose another --output-dir, or replace it with --overwrite",
        bad.with_file("out/best.pth", b"weights"),
    ),
    "a loss that is not finite": Case(
        "train --std 1e-38,1e-38,1e-38",
        "the … is nan at epoch 1, step 1, …, pictures …. Lower the learning rate, or look at these pictures",
        code=1,
    ),
    "pictures that vanish": Case(
        "train --train-dir data",
        "a picture can't be read any more: rose/….jpg: No such file or directory",
        bad.vanishing,
        code=1,
    ),
    "pictures that vanish from another process": Case(
        "train --train-dir data --workers 1",
        "a picture can't be read any more: rose/….jpg: No such file or directory",
        bad.vanishing,
        code=1,
    ),
}
TABLES = (FLAGS, MODELS, FOLDERS, WEIGHTS, CHECKPOINTS, TRACKERS, PLACES)
BAD = {name: case for table in TABLES for name, case in table.items()}


@pytest.fixture(scope="module")
def trained(flowers, tmp_path_factory):
    """The folder of a small run that has finished, and beside it `empty.db`, a store without runs."""
    root = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
        MlflowClient().search_experiments()
        shutil.copy("mlflow.db", "empty.db")
        (root / "flowers").symlink_to(flowers)
        assert run_command(*bad.command_of("train")) == 0
    return root / "out"


@pytest.fixture
def place(trained, flowers, tmp_path, monkeypatch):
    """The working folder of a case; its store is a copy of an empty one, which saves its making."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(trained.parent / "empty.db", tmp_path / "mlflow.db")
    (tmp_path / "flowers").symlink_to(flowers)
    made = bad.Place(tmp_path, trained)
    yield made
    made.tidy()


@pytest.mark.parametrize("case", bad.rows(BAD))
def test_bad_input_is_one_line_and_leaves_nothing_open(case, place, capfd, monkeypatch):
    bad.run_case(case, place, capfd, monkeypatch)


def test_the_table_is_as_long_as_was_asked_for():
    """At least 40 rows; no two of one name."""
    assert len(BAD) == sum(map(len, TABLES)) >= 40


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
    """Pictures, output and names with spaces, accents and newlines; with single pixels and a stripe among the pictures."""
    data = place.own_flowers().rename(place.root / "-my photos\nd'été")
    for number, (width, height) in enumerate(((1, 1), (1, 9000), (9000, 1))):
        (data / "rose" / f"-{number}\n é.png").write_bytes(bad.flat(width, height))
    words = ["--train-dir", data.name, "--output-dir", "-out é\n2", "--experiment", "été\n1", "--run-name", "a\nb 'c'"]
    assert run_command("train", [*bad.command_of("train")[1], *words]) == 0, capfd.readouterr().err
    assert (place.root / "-out é\n2" / "best.pth").is_file()
    assert bad.runs(place.root) == ["FINISHED"]
