"""The two smoke tests of the plan tp3 as commands, verbatim (with `--weights none`: no network), at full model size."""

import csv
import json
import shlex

import pytest
import torch

from flowerml.data.synthetic.flowers import make_flowers
from flowerml.training.device import autocast_dtype
from tests.cli.test_commands import ROOT, call

CNN = """--model convnextv2_large --train-dir data/train --val-split 0.2 --seed 11 --epochs 2 --batch-size 16
 --img-size 224 --optimizer adamw --lr-head 1e-3 --lr-backbone 2e-4 --weight-decay 0.02
 --warmup-epochs 1 --scheduler cosine --label-smoothing 0.05 --mixup 0.0 --cutmix 0.0 --randaugment 0
 --random-erasing 0.0 --amp --ema --grad-clip 1.0 --freeze-backbone-epochs 1 --llrd 1.0 --output-dir
 runs/A01_CNN_SMOKE"""
CLIP = """--model clip_vitl14 --train-dir data/train --val-split 0.2 --seed 11 --epochs 2 --batch-size 8
 --img-size 224 --optimizer adamw --lr-head 1e-3 --lr-backbone 1e-5 --weight-decay 0.02
 --warmup-epochs 1 --scheduler cosine --label-smoothing 0.05 --mixup 0.0 --cutmix 0.0 --randaugment 0
 --random-erasing 0.0 --amp --ema --grad-clip 1.0 --freeze-backbone-epochs 2 --llrd 0.85 --output-dir
 runs/A02_CLIP_SMOKE"""


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "run"), [(CNN, "A01_CNN_SMOKE"), (CLIP, "A02_CLIP_SMOKE")], ids=["cnn", "clip"])
def test_smoke_command_trains_and_eval_repeats_its_figures(flags, run, tmp_path):
    make_flowers(tmp_path / "data" / "train", per_class=4, size=240)
    trained = call(
        "python",
        str(ROOT / "entrypoints/train.py"),
        *shlex.split(flags),
        "--weights",
        "none",
        cwd=tmp_path,
        timeout=1200,
    )
    assert trained.returncode == 0, trained.stderr
    folder = tmp_path / "runs" / run
    flags = ["--checkpoint", f"runs/{run}/best.pth", "--split", "val", "--json"]
    evaluated = call("python", str(ROOT / "entrypoints/eval.py"), *flags, cwd=tmp_path, timeout=600)
    assert evaluated.returncode == 0, evaluated.stderr
    kept = torch.load(folder / "best.pth", weights_only=True)
    result = json.loads(evaluated.stdout)
    figures = {f"val_{name}": result[name] for name in ("accuracy", "macro_f1", "loss")}
    assert figures == {name: kept["metrics"][name] for name in figures}
    with (folder / "history.csv").open() as handle:
        history = {int(row["epoch"]): row for row in csv.DictReader(handle)}
    best = max(
        history.values(), key=lambda row: (float(row["val_accuracy"]), float(row["val_macro_f1"]), -int(row["epoch"]))
    )
    assert history[kept["epoch"]] == best
    # Epochs are evaluated in the training's own precision: bf16 keeps eight bits of a number.
    exact = autocast_dtype(torch.device("cpu"), amp=True) is None
    assert float(best["val_loss"]) == pytest.approx(figures["val_loss"], rel=0 if exact else 2**-7, abs=0)
    assert result["confusion_matrix"] == json.loads((folder / "confusion_matrix.json").read_text())
