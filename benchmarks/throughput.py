"""Images per second of training steps and of reading pictures; the effect of channels-last, bf16 and worker processes.

    python benchmarks/throughput.py

The last column is the ratio to the first row of the same table, measured in the same run: absolute figures differ from
machine to machine and from day to day.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from rich.table import Table
from support.harness import parse_arguments, print_table

from flowerml.data.balance import Balance
from flowerml.data.decode import read_image
from flowerml.data.folders import read_layout
from flowerml.data.loader import Example, training_loader
from flowerml.data.synthetic.flowers import CLASSES, make_flowers
from flowerml.data.transforms import InputDescription, TrainingTransform
from flowerml.models import build
from flowerml.settings import find_model, resolve
from flowerml.training.optimizer import make_optimizer, parameter_groups
from flowerml.training.train_step import make_train_step

MODELS = (("timm:mobilenetv2_100", 192), ("convnextv2_atto", 96))  # names, input edges [px]
QUICK_MODELS = (("timm:test_convnext2", 32),)
QUICK = {"batch": 8, "steps": 2, "per_class": 4, "photo_size": 64, "workers": (0, 1), "models": QUICK_MODELS}
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
    parser.set_defaults(batch=32, steps=6, per_class=40, photo_size=480, workers=(0, 1, 2), models=MODELS)
    args = parse_arguments(parser, QUICK)
    for name, size in args.models:
        rates = [
            (label, training_rate(name, size, channels_last=last, dtype=dtype, batch=args.batch, steps=args.steps))
            for label, last, dtype in VARIANTS
        ]
        print_rates(f"training steps on CPU: {name}, {size} px, batch {args.batch}", rates, len(VARIANTS))
    with tempfile.TemporaryDirectory() as folder:
        make_flowers(Path(folder), per_class=args.per_class, size=args.photo_size)
        rates = [
            (
                f"{workers} workers, RandAugment {magnitude}",
                loading_rate(Path(folder), workers=workers, randaugment=magnitude, batch=args.batch),
            )
            for workers in args.workers
            for magnitude in (0, 9)
        ]
    print_rates(f"reading, decoding and augmenting {args.photo_size} px JPEGs", rates, 2 * len(args.workers))


if __name__ == "__main__":
    main()
