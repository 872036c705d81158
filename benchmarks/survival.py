"""What surviving costs: epochs of a real run with journal, heartbeat and checkpoints, against the same epochs without any of them.

    python benchmarks/survival.py --train-dir data/train --weights mobilenetv2_100.safetensors

MobileNetV2 on 1,000 photos, both ways in turn, so that whatever else the machine does meets both. What a checkpoint takes to be written is
measured beside: it is written while the next epoch trains.
"""

import argparse
import contextlib
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from flowerml.runs import training as runs
from flowerml.runs.prepare import prepare
from flowerml.settings import Settings, resolve
from flowerml.tracking import start_run
from flowerml.training.keeping import Checkpoints
from flowerml.training.loop import train
from flowerml.training.outcome import Observers

CLASSES = 5


def photos(source: Path, target: Path, count: int) -> None:
    """Links to `count` photos, drawn with a seed, equally many of each class."""
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        files = sorted(path for path in folder.iterdir() if path.suffix == ".jpg")
        (target / folder.name).mkdir(parents=True)
        for path in random.Random(0).sample(files, count // CLASSES):
            (target / folder.name / path.name).symlink_to(path.resolve())


class Epochs:
    """Seconds of each epoch but the first, in which workers start and caches fill."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._last: float | None = None

    def __call__(self, _row: object) -> str:
        """An epoch has ended."""
        now = time.perf_counter()
        if self._last is not None:
            self.seconds.append(now - self._last)
        self._last = now
        return ""


def with_everything(settings: Settings) -> tuple[list[float], list[float]]:
    """Epochs of a run as users start it, and what its checkpoints took to be written."""
    epochs, written, save = Epochs(), [], Checkpoints.save

    def timed(*words: object) -> None:
        began = time.perf_counter()
        save(*words)  # type: ignore[arg-type]
        written.append(time.perf_counter() - began)

    Checkpoints.save = timed  # type: ignore[method-assign, assignment]
    try:
        runs.run_training(settings, start_run, on_row=epochs)
    finally:
        Checkpoints.save = save  # type: ignore[method-assign]
    return epochs.seconds, written


def without(settings: Settings) -> list[float]:
    """Epochs of the bare loop: nothing is written, nobody hears of anything."""
    run, epochs = prepare(settings), Epochs()
    train_loader, val_loader = runs._loaders(run)
    train(
        run.built,
        run.settings,
        run.data.classes,
        train_loader,
        val_loader,
        device=run.device,
        memory_format=runs.set_channels_last(run.built.model, run.spec),
        balance=run.balance,
        observers=Observers(lambda row: epochs(row) and None, lambda _: None, lambda _: None, lambda *_: None),
    )
    return epochs.seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train-dir", type=Path, required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--img-size", default="128")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="survival-"))
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{scratch / 'mlflow.db'}"
    try:
        photos(asked.train_dir, scratch / "photos", 1000)
        given = {
            **{"model": "timm:mobilenetv2_100", "weights": asked.weights, "train_dir": str(scratch / "photos"), "patience": 0},
            **{"img_size": asked.img_size, "epochs": asked.epochs, "warmup_epochs": 0, "freeze_backbone_epochs": 0, "device": "cpu"},
        }
        bare, whole, written = [], [], []
        for number in range(asked.rounds):
            with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
                bare += without(resolve(given)[0])
                epochs, saves = with_everything(resolve({**given, "output_dir": str(scratch / f"run-{number}")})[0])
            whole, written = whole + epochs, written + saves
            print(f"round {number + 1} of {asked.rounds}: {statistics.median(bare):.2f} s and {statistics.median(whole):.2f} s an epoch")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    before, after = statistics.median(bare), statistics.median(whole)
    print(f"\n{'':44}{'epoch [s]':>10}{'ratio':>8}")
    print(f"{'without journal, heartbeat and checkpoints':44}{before:10.2f}{1.0:8.3f}")
    print(f"{'with them':44}{after:10.2f}{after / before:8.3f}")
    print(f"{'writing one checkpoint, beside the training':44}{statistics.median(written):10.2f}{statistics.median(written) / before:8.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
