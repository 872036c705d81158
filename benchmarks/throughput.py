"""How fast one process trains and reads pictures, and what channels-last, bf16 and worker processes bring. Run by `make
bench`.

Every row is measured in the same run, and the last column is its ratio to the first row of its table: machines are
noisy.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from flowerml.data.decode import read_image
from flowerml.data.folders import read_layout
from flowerml.data.loader import Example, training_loader
from flowerml.data.synthetic.flowers import CLASSES, make_flowers
from flowerml.data.transforms import InputDescription, TrainingTransform
from flowerml.models import build
from flowerml.settings import find_model
from flowerml.training.optimizer import make_optimizer, parameter_groups
from flowerml.training.train_step import TrainStep

BATCH = 32
STEPS = 6


def training_rate(name: str, size: int, *, channels_last: bool, dtype: torch.dtype | None) -> float:
    """Images per second of whole optimiser steps on random inputs, the first step left out."""
    built = build(find_model(name), 5, img_size=size)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = built.model.to(memory_format=layout)
    groups = parameter_groups(model, built.layer_groups, lr_head=1e-3, lr_backbone=1e-4, weight_decay=0.02, llrd=1.0)
    stepper = TrainStep(
        model, make_optimizer("adamw", groups), list(model.parameters()), torch.device("cpu"), dtype, 1, 1.0, 0.05, None
    )
    inputs = torch.randn(BATCH, 3, size, size).contiguous(memory_format=layout)
    labels = torch.randint(0, 5, (BATCH,))
    stepper.step(inputs, labels, "warm-up")
    return timed(lambda: stepper.step(inputs, labels, "benchmark"), STEPS) * BATCH


def loading_rate(root: Path, *, workers: int, randaugment: int) -> float:
    """Augmented images per second from JPEG files."""
    layout = read_layout(root, CLASSES, {})
    examples = [Example(found.key, 0, partial(read_image, root / found.file)) for found in layout.files]
    description = InputDescription(192, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic", 0.875)
    transform = TrainingTransform(description, randaugment, 0.1)
    loader = training_loader(examples, transform, batch_size=BATCH, workers=workers, seed=11)
    list(loader.epoch(1))  # starts the workers
    return timed(lambda: list(loader.epoch(2)), 1) * len(examples)


def timed(action: Callable[[], object], times: int) -> float:
    """Calls per second."""
    started = time.perf_counter()
    for _ in range(times):
        action()
    return times / (time.perf_counter() - started)


def show(title: str, rows: list[tuple[str, float]]) -> None:
    """One table; the last column is the ratio to its first row."""
    table = Table("", "images/s", "ratio", title=title)
    for name, rate in rows:
        table.add_row(name, f"{rate:.1f}", f"{rate / rows[0][1]:.2f}")
    Console().print(table)


def main() -> None:
    """Measure and print."""
    variants = (
        ("fp32", False, None),
        ("fp32, channels-last", True, None),
        ("bf16", False, torch.bfloat16),
        ("bf16, channels-last", True, torch.bfloat16),
    )
    for name, size in (("timm:mobilenetv2_100", 192), ("convnextv2_atto", 96)):
        show(
            f"training steps on CPU: {name}, {size} px, batch {BATCH}",
            [(label, training_rate(name, size, channels_last=last, dtype=dtype)) for label, last, dtype in variants],
        )
    with tempfile.TemporaryDirectory() as folder:
        make_flowers(Path(folder), per_class=40, size=480)
        rows = [
            (
                f"{workers} workers, RandAugment {magnitude}",
                loading_rate(Path(folder), workers=workers, randaugment=magnitude),
            )
            for workers in (0, 1, 2)
            for magnitude in (0, 9)
        ]
        show("reading, decoding and augmenting 480 px JPEGs", rows)


if __name__ == "__main__":
    main()
