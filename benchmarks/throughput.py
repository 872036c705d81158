"""Images per second of training steps, of the training loop, and of reading pictures.

    python benchmarks/throughput.py --photos FOLDER

Without `--photos` (a folder with one sub-folder of pictures per class) the pictures are generated. The last column is
the ratio to the first row of the same table, measured in the same run: absolute figures differ from machine to machine
and from day to day.

Training loop: the trainer with the full recipe (EMA, mixup, cutmix, RandAugment) and one process that loads pictures on
the same cores, against bare steps (forward, backward, AdamW) on one batch in memory, in turns.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import torch
from rich.table import Table
from support.harness import logger, parse_arguments, print_table, ratio_cells, start_as_commands_do
from support.photos import copy_photos

from flowerml.data.balance import Balance
from flowerml.data.decode import read_image
from flowerml.data.folders import read_layout
from flowerml.data.loader import Example, Share, training_loader
from flowerml.data.synthetic.flowers import CLASSES, make_flowers
from flowerml.data.transforms import InputDescription, TrainingTransform
from flowerml.models import build
from flowerml.models.builders import set_channels_last
from flowerml.runs.loading.loaders import make_loaders, make_views
from flowerml.runs.prepare import Prepared, prepare
from flowerml.settings import find_model, resolve
from flowerml.training.callbacks import Callbacks
from flowerml.training.device import autocast_dtype
from flowerml.training.optimizer import make_optimizer, parameter_groups
from flowerml.training.train import train
from flowerml.training.train_step import make_train_step

MODELS = (("timm:mobilenetv2_100", 192), ("convnextv2_atto", 96))  # names, input edges [px]
QUICK_MODELS = (("timm:test_convnext2", 32),)
QUICK = {
    "batch": 8,
    "steps": 2,
    "per_class": 4,
    "photo_size": 64,
    "workers": (0, 1),
    "models": QUICK_MODELS,
    "rounds": 1,
}
VARIANTS = (
    ("fp32", False, None),
    ("fp32, channels-last", True, None),
    ("bf16", False, torch.bfloat16),
    ("bf16, channels-last", True, torch.bfloat16),
)


def training_rate(
    name: str, size: int, *, channels_last: bool, dtype: torch.dtype | None, batch: int, steps: int
) -> float:
    """Images per second of whole optimiser steps on random inputs, without the first step."""
    settings, _ = resolve({"model": name, "weights": "none", "img_size": size, "device": "cpu"})
    built = build(find_model(name), len(CLASSES), img_size=size)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    model = built.model.to(memory_format=memory_format)
    groups = parameter_groups(model, built.layer_groups, lr_head=1e-3, lr_backbone=1e-4, weight_decay=0.02, llrd=1.0)
    uniform = (1,) * len(CLASSES)
    balance = Balance(CLASSES, counts=uniform, repeats=uniform, weights=None)
    optimizer = make_optimizer("adamw", groups)
    train_step = make_train_step(model, optimizer, settings, balance, torch.device("cpu"), print)
    train_step = replace(train_step, dtype=dtype)
    inputs = torch.randn(batch, 3, size, size).contiguous(memory_format=memory_format)
    labels = torch.randint(0, len(CLASSES), (batch,))
    train_step.step(inputs, labels, 0, "warm-up")
    return calls_per_second(lambda: train_step.step(inputs, labels, 1, "benchmark"), steps) * batch


def prepare_training(root: Path, model: str, size: int, batch: int, more: Mapping[str, object]) -> Prepared:
    """A training of two epochs on all pictures of a folder."""
    settings, _ = resolve(
        {
            "model": model,
            "weights": "none",
            "img_size": size,
            "batch_size": batch,
            "train_dir": str(root),
            "val_split": 0.0,
            "epochs": 2,
            "warmup_epochs": 0,
            "freeze_backbone_epochs": 0,
            "device": "cpu",
            "workers": 1,
            **more,
        }
    )
    return prepare(settings)


def loop_rate(run: Prepared) -> float:
    """Images per second of the second epoch, as the trainer counts them."""
    views = make_views(run)
    loader, _ = make_loaders(run, views, Share())
    nothing = Callbacks(
        on_epoch=lambda _row: None,
        on_best=lambda _candidate: None,
        on_memory=lambda _words: None,
        on_state=lambda _progress, _state: None,
    )
    result = train(
        run.built,
        run.settings,
        run.data.classes,
        loader,
        None,
        device=run.device,
        memory_format=set_channels_last(run.built.model, run.spec),
        balance=run.balance,
        callbacks=nothing,
    )
    return result.history[-1]["images_per_second"]


def bare_rate(run: Prepared, steps: int) -> float:
    """Images per second of forward, backward and AdamW on one batch, without the first step."""
    model, size = run.built.model.train(), run.settings.img_size
    memory_format = set_channels_last(model, run.spec)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    inputs = torch.randn(run.settings.batch_size, 3, size, size).contiguous(memory_format=memory_format)
    labels = torch.randint(0, len(run.data.classes), (len(inputs),))

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()

    step()
    return calls_per_second(step, steps) * len(inputs)


def measure_loop(root: Path, model: str, size: int, batch: int, steps: int, rounds: int) -> dict[str, list[float]]:
    """Images per second of each row in each round, after one round that fills the caches of pictures."""
    fast = {"augment_backend": "opencv", "cache_images": "ram"}
    rows = {
        "bare steps": lambda: bare_rate(prepare_training(root, model, size, batch, {}), steps),
        "training loop": lambda: loop_rate(prepare_training(root, model, size, batch, {})),
        "training loop, opencv and cache": lambda: loop_rate(prepare_training(root, model, size, batch, fast)),
    }
    rates: dict[str, list[float]] = {name: [] for name in rows}
    for number in range(rounds + (rounds > 1)):
        for name, measure in rows.items():
            rates[name].append(measure())
            logger.info(f"round {number}, {name}: {rates[name][-1]:.1f} images/s")
    return {name: values[-rounds:] for name, values in rates.items()}


def print_loop(title: str, rates: Mapping[str, Sequence[float]]) -> None:
    """A table of `measure_loop`, the ratios being those of images per second round by round."""
    table = Table("", "images/s", "ratio", "range", title=title)
    bare = next(iter(rates.values()))
    for name, values in rates.items():
        table.add_row(name, f"{median(values):.1f}", *ratio_cells(values, bare))
    print_table(table, len(rates), [value for values in rates.values() for value in values])


def loading_rate(root: Path, *, workers: int, randaugment: int, batch: int) -> float:
    """Images per second read from JPEG files, decoded and augmented."""
    layout = read_layout(root, CLASSES, {})
    examples = [Example(found.key, 0, partial(read_image, root / found.file)) for found in layout.files]
    description = InputDescription(192, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic", 0.875)
    transform = TrainingTransform(description, randaugment, 0.1)
    loader = training_loader(examples, transform, batch_size=batch, workers=workers, seed=11)
    list(loader.epoch(1))  # starts the workers
    return calls_per_second(lambda: list(loader.epoch(2)), 1) * len(examples)


def calls_per_second(action: Callable[[], object], times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        action()
    return times / (time.perf_counter() - started)


def print_rates(title: str, rates: Sequence[tuple[str, float]], rows: int) -> None:
    """One table; the last column is the ratio to its first row."""
    table = Table("", "images/s", "ratio", title=title)
    for name, rate in rates:
        table.add_row(name, f"{rate:.1f}", f"{rate / rates[0][1]:.2f}")
    print_table(table, rows, [rate for _, rate in rates])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder with one sub-folder of pictures per class")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the training loop (default: 5)")
    parser.set_defaults(batch=32, steps=6, per_class=40, photo_size=480, workers=(0, 1, 2), models=MODELS)
    args = parse_arguments(parser, QUICK)
    start_as_commands_do()
    # Without bf16 instructions no training is in bf16, and a step takes ten times as long.
    has_bf16 = autocast_dtype(torch.device("cpu"), amp=True) is not None
    variants = [variant for variant in VARIANTS if has_bf16 or variant[2] is None]
    for name, size in args.models:
        rates = [
            (label, training_rate(name, size, channels_last=last, dtype=dtype, batch=args.batch, steps=args.steps))
            for label, last, dtype in variants
        ]
        print_rates(f"training steps on CPU: {name}, {size} px, batch {args.batch}", rates, len(variants))
    with tempfile.TemporaryDirectory() as folder:
        generated = whole = Path(folder) / "generated"
        make_flowers(generated, per_class=args.per_class, size=args.photo_size)
        if args.photos is not None:
            whole, _ = copy_photos(args.photos, Path(folder), args.per_class * len(CLASSES))
        for name, size in args.models:
            loop = measure_loop(whole, name, size, args.batch, 2 * args.steps, args.rounds)
            print_loop(f"training loop on CPU: {name}, {size} px, batch {args.batch}, {args.rounds} rounds", loop)
        rates = [
            (
                f"{workers} workers, RandAugment {magnitude}",
                loading_rate(generated, workers=workers, randaugment=magnitude, batch=args.batch),
            )
            for workers in args.workers
            for magnitude in (0, 9)
        ]
    print_rates(f"reading, decoding and augmenting {args.photo_size} px JPEGs", rates, 2 * len(args.workers))


if __name__ == "__main__":
    main()
