"""A whole training: `flowerml train` against timm's own `train.py` on the same pictures, model and recipe.

    python benchmarks/timm_script.py --timm FOLDER --photos FOLDER

`--timm` is a checkout of pytorch-image-models (with `train.py`) of the installed timm's version: this script fetches
nothing. Without `--photos` (a folder with one sub-folder of pictures per class) the pictures are generated. Both train
from random weights with AdamW, EMA, mixup, cutmix, RandAugment and random erasing, in fp32 on a CPU, with one process
that loads pictures. Each round runs all rows one after the other. `whole process` is from start to exit; `epochs` is
from the end of the first epoch to the end of the last, validation included. timm's script runs as it is, and once more
with the settings of malloc that flowerml makes for itself.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

from rich.table import Table
from support.harness import logger, parse_arguments, print_table, ratio_cells
from support.photos import VAL_SPLIT, copy_photos

from flowerml.data.synthetic.flowers import CLASSES, make_flowers

QUICK = {"count": 50, "rounds": 1, "size": 64, "photo_size": 96, "model": "test_convnext2", "epochs": 2}
# What flowerml sets for itself with mallopt, for a script that does not.
KEEP_FREED_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}


@dataclass(frozen=True)
class Row:
    """A row of the table: its command for an output folder, words of the line that ends an epoch, and variables."""

    command: Callable[[Path], list[str]]
    end_of_epoch: str
    variables: Mapping[str, str] = field(default_factory=dict)


def timm_command(script: Path, data: Path, args: argparse.Namespace, output: Path) -> list[str]:
    """timm's script with flowerml's recipe for CNNs."""
    recipe = (
        f"--model {args.model} --num-classes {len(CLASSES)} --img-size {args.size} --batch-size 32 --epochs"
        f" {args.epochs} --opt adamw --lr 2e-4 --weight-decay 0.02 --sched cosine --warmup-epochs 0 --cooldown-epochs 0"
        " --model-ema --mixup 0.2 --cutmix 1.0 --smoothing 0.05 --aa rand-m9-n2 --reprob 0.1 --scale 0.35 1.0"
        " --channels-last --device cpu --workers 1 --clip-grad 1.0"
    )
    return [sys.executable, str(script), str(data), *recipe.split(), "--output", str(output)]


def flowerml_command(data: Path, args: argparse.Namespace, more: str, output: Path) -> list[str]:
    """The same training here."""
    recipe = (
        f"--model timm:{args.model} --weights none --img-size {args.size} --batch-size 32 --epochs {args.epochs}"
        " --lr-head 2e-4 --lr-backbone 2e-4 --warmup-epochs 0 --freeze-backbone-epochs 0 --drop-path 0 --device cpu"
        f" --workers 1 --val-split {VAL_SPLIT} {more}"
    )
    started = [sys.executable, "-m", "flowerml.cli.main", "train"]
    return [*started, *recipe.split(), "--train-dir", str(data), "--output-dir", str(output)]


def run(row: Row, folder: Path, output: Path, epochs: int) -> tuple[float, float]:
    """Seconds of the whole process, and from the end of the first epoch to that of the last.

    Raises:
        RuntimeError: the command failed, or did not say the end of each epoch.
    """
    command = row.command(output)
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}", **row.variables}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    lines, ends = [], []
    for line in process.stdout:
        lines.append(line)
        if row.end_of_epoch in line:
            ends.append(time.perf_counter())
    code = process.wait()
    seconds = time.perf_counter() - started
    if code or len(ends) != epochs:
        raise RuntimeError(f"{' '.join(command)}: exit code {code}, {len(ends)} epochs\n{''.join(lines[-20:])}")
    return seconds, ends[-1] - ends[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timm", type=Path, help="checkout of pytorch-image-models; without it only flowerml's rows")
    parser.add_argument("--photos", type=Path, help="folder with one sub-folder of pictures per class")
    parser.add_argument("--count", type=int, default=400, help="pictures, a fifth of them held out (default: 400)")
    parser.add_argument("--rounds", type=int, default=4, help="rounds of all rows (default: 4)")
    parser.add_argument("--size", type=int, default=160, help="edge of the model's input in px (default: 160)")
    parser.add_argument("--epochs", type=int, default=3, help="default: 3")
    parser.add_argument("--model", default="mobilenetv2_100", help="timm's name of it (default: mobilenetv2_100)")
    parser.set_defaults(photo_size=480)
    args = parse_arguments(parser, QUICK)
    if args.timm is not None and not (args.timm / "train.py").is_file():
        parser.error(f"--timm {args.timm} has no train.py: name a checkout of pytorch-image-models")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        root = args.photos
        if root is None:
            root = folder / "generated"
            make_flowers(root, per_class=max(2, args.count // len(CLASSES)), size=args.photo_size)
        whole, parted = copy_photos(root, folder, args.count)
        rows: dict[str, Row] = {}
        if args.timm is not None:
            of_timm = partial(timm_command, (args.timm / "train.py").resolve(), parted, args)
            rows["timm's train.py"] = Row(of_timm, "Current checkpoints")
            rows["timm's train.py, freed memory kept"] = Row(of_timm, "Current checkpoints", KEEP_FREED_MEMORY)
        rows["flowerml"] = Row(partial(flowerml_command, whole, args, ""), "val_loss")
        fast = "--augment-backend opencv --cache-images ram"
        rows["flowerml, opencv and cache"] = Row(partial(flowerml_command, whole, args, fast), "val_loss")
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
        for number in range(args.rounds + (args.rounds > 1)):  # the first of several fills the caches
            for index, (name, row) in enumerate(rows.items()):
                times[name].append(run(row, folder, folder / f"out-{number}-{index}", args.epochs))
                logger.info(f"round {number}, {name}: {times[name][-1][0]:.1f} s")
    measured = {name: values[-args.rounds :] for name, values in times.items()}
    first = next(iter(measured.values()))
    title = f"{args.count} pictures, {args.model} at {args.size} px, {args.epochs} epochs, {args.rounds} rounds"
    table = Table("", "whole process [s]", "ratio", "range", "epochs [s]", "ratio", "range", title=title)
    for name, values in measured.items():
        cells = [name]
        for part in range(2):
            seconds = [value[part] for value in values]
            cells += [f"{median(seconds):.1f}", *ratio_cells([value[part] for value in first], seconds)]
        table.add_row(*cells)
    print_table(table, len(rows), [part for values in measured.values() for value in values for part in value])


if __name__ == "__main__":
    main()
