"""What it costs an epoch that a run can be resumed: journal, heartbeat and checkpoints, against without.

    python benchmarks/survival.py [--train-dir data/train] [--blocks 11] [--img-size 192]

About 20 minutes. `run_training` trains MobileNetV2 with a fresh SQLite store, as `flowerml train` does, at the 192 px
of the README's example, on up to 1,000 photos. An epoch "with" first stores the results of the epoch before (the row of
`history.csv`, the record in the journal and in MLflow, `best.pth`, the checkpoint) and sends heartbeats; an epoch
"without" does neither. They come in blocks of four (without, with, with, without), so that a machine that slows down
over the minutes slows both. All run in one process: two processes with the same training differ by up to 3 % for as
long as they live, depending on how their memory is laid out.

A checkpoint is written while the epoch runs, on the same cores if there is only the CPU: the lower rows show what
writing takes by itself, and the difference less that. CPU seconds are of the process with all its threads, and depend
less on the load of the machine than the clock does.
"""

import argparse
import gc
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any, TypeVar

from rich.table import Table
from scipy.special import stdtrit
from support.harness import parse_arguments, print_table

from flowerml.data.synthetic.flowers import CLASSES, make_flowers
from flowerml.runs import train as training
from flowerml.runs.lifecycle.lease import Lease
from flowerml.settings import resolve
from flowerml.tracking import start_run
from flowerml.tracking.delivery.journal_delivery import JournalDelivery
from flowerml.training.callbacks import Callbacks, Candidate, EpochMetrics, TrainingResult
from flowerml.training.checkpoints.checkpoint import save_plain
from flowerml.training.checkpoints.progress import Progress, StateDict, copy_to_cpu
from flowerml.training.checkpoints.store import CheckpointStore
from flowerml.training.train import train

PHOTOS = 1000
BLOCK = (False, True, True, False)  # whether an epoch is "with"
CHECKPOINTS = 5  # written after the training, by themselves
MODEL = "timm:mobilenetv2_100"
SETTINGS = {"weights": "none", "freeze_backbone_epochs": 0, "warmup_epochs": 1, "patience": 0, "duplicates": "keep"}
QUICK = {"model": "timm:test_convnext2", "blocks": 2, "img_size": 32, "workers": 0}
T = TypeVar("T")


@dataclass(frozen=True)
class Usage:
    """Seconds: wall clock, CPU time of the process on all cores, and in the garbage collector."""

    clock: float
    cpu: float
    collector: float = 0.0

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(self.clock - other.clock, self.cpu - other.cpu, self.collector - other.collector)


class CollectorTimer:
    """Adds up the seconds in the garbage collector."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started = 0.0
        gc.callbacks.append(self._on_collection)

    def _on_collection(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._started = time.perf_counter()
        else:
            self.seconds += time.perf_counter() - self._started


class Switch:
    """Wraps the callbacks and heartbeats of a run: passes calls on in epochs that are "with", and times all epochs."""

    def __init__(self) -> None:
        self._collector = CollectorTimer()
        self._epoch_start: Usage | None = None
        self._number = -1  # of the running epoch, among those that count
        self.enabled = True
        self.epochs: list[Usage] = []
        self.state: tuple[Progress, StateDict] | None = None

    def now(self) -> Usage:
        """Counters from an arbitrary start: only differences have a meaning."""
        return Usage(time.perf_counter(), time.process_time(), self._collector.seconds)

    def end_epoch(self) -> None:
        """Record the epoch's usage and set the next one's mode. The first two epochs, both "with", do not count."""
        now = self.now()
        if self._epoch_start is not None and self._number >= 0:
            self.epochs.append(now - self._epoch_start)
        if self._epoch_start is not None:
            self._number += 1
            self.enabled = BLOCK[self._number % len(BLOCK)]
        self._epoch_start = now

    def wrap_callbacks(self, callbacks: Callbacks) -> Callbacks:
        """Callbacks that are called only in epochs that are "with"."""

        def on_epoch(row: EpochMetrics) -> None:
            self.end_epoch()
            if self.enabled:
                callbacks.on_epoch(row)

        def on_best(candidate: Candidate) -> None:
            if self.enabled:
                callbacks.on_best(candidate)

        def on_state(progress: Progress, content: StateDict) -> None:
            self.state = progress, content
            if self.enabled:
                callbacks.on_state(progress, content)

        return replace(callbacks, on_epoch=on_epoch, on_best=on_best, on_state=on_state)

    def wrap_heartbeat(self, heartbeat: Callable[[T], None]) -> Callable[[T], None]:
        """A method that does something only in epochs that are "with"."""

        def heartbeat_if_enabled(instance: T) -> None:
            if self.enabled:
                heartbeat(instance)

        return heartbeat_if_enabled


@contextmanager
def install_switch(switch: Switch, after_training: Callable[[], None]) -> Iterator[None]:
    """Inside, `run_training` trains with the switch's callbacks and heartbeats, then calls `after_training`."""

    def train_with_switch(*args: Any, callbacks: Callbacks, **kwargs: Any) -> TrainingResult:  # noqa: ANN401 - as `train`'s
        outcome = train(*args, callbacks=switch.wrap_callbacks(callbacks), **kwargs)
        after_training()
        return outcome

    before = Lease.heartbeat, JournalDelivery.send_heartbeat, JournalDelivery.assert_running
    Lease.heartbeat = switch.wrap_heartbeat(Lease.heartbeat)  # type: ignore[method-assign]
    JournalDelivery.send_heartbeat = switch.wrap_heartbeat(JournalDelivery.send_heartbeat)  # type: ignore[method-assign]
    JournalDelivery.assert_running = switch.wrap_heartbeat(JournalDelivery.assert_running)  # type: ignore[method-assign]
    training.train = train_with_switch  # type: ignore[attr-defined]
    try:
        yield
    finally:
        training.train = train  # type: ignore[attr-defined]
        Lease.heartbeat, JournalDelivery.send_heartbeat, JournalDelivery.assert_running = before  # type: ignore[method-assign]


def measure(photos: Path, folder: Path, model: str, blocks: int, img_size: int) -> tuple[list[Usage], list[Usage]]:
    """Train. Returns the usage of the epochs, and alternately of copying a state and of writing a checkpoint."""
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    paths = {"train_dir": str(photos), "output_dir": str(folder / "run")}
    epochs = len(BLOCK) * blocks + 2
    settings = resolve({**SETTINGS, **paths, "model": model, "img_size": img_size, "epochs": epochs})[0]
    switch, checkpoints = Switch(), list[Usage]()

    def write_checkpoints() -> None:
        assert switch.state is not None
        checkpoints.extend(_measure_writing(switch, switch.state[1], CheckpointStore(folder / "state", "", 0, 2)))

    with install_switch(switch, write_checkpoints):
        training.run_training(settings, start_run)
    return switch.epochs, checkpoints


def _measure_writing(switch: Switch, content: StateDict, store: CheckpointStore) -> list[Usage]:
    best = store.folder.parent / "best.pth"
    usage = []
    for number in range(CHECKPOINTS):
        started = switch.now()
        copied = copy_to_cpu(content)
        usage.append(switch.now() - started)
        started = switch.now()
        save_plain(best, copied["model"])
        store.save(Progress(number, 0), copied, best)
        usage.append(switch.now() - started)
    return usage


def link_photos(source: Path, target: Path) -> int:
    """Link up to PHOTOS photos, evenly from the classes, into `target`. Returns their number."""
    count = 0
    for name in CLASSES:
        (target / name).mkdir(parents=True)
        for photo in sorted((source / name).iterdir())[: PHOTOS // len(CLASSES)]:
            (target / name / photo.name).symlink_to(photo.resolve())
            count += 1
    return count


@dataclass(frozen=True)
class Estimate:
    """Seconds, with half the width of their 95 % interval where they have one."""

    seconds: float
    half_width: float | None = None

    def cells(self, epoch: float) -> tuple[str, str]:
        """The seconds, and their share of an epoch's."""
        share = (
            f"{self.seconds / epoch:.2%}"
            if self.half_width is None
            else f"{self.seconds / epoch:+.2%} ± {self.half_width / epoch:.2%}"
        )
        return f"{self.seconds:.2f}", share


def print_estimates(photos: int, epochs: list[Usage], checkpoints: list[Usage]) -> None:
    """The table."""
    columns = [_estimates(unit, epochs, checkpoints) for unit in ("clock", "cpu")]
    title = f"an epoch of {photos:,} photos, {len(epochs)} epochs"
    table = Table("", "seconds", "of an epoch", "CPU seconds", "of an epoch", title=title)
    for name in columns[0]:
        cells = (column[name].cells(column["without"].seconds) for column in columns)
        table.add_row(name, *(text for pair in cells for text in pair))
    collector = mean(usage.collector for usage in epochs)
    table.caption = (
        f"± is half a 95 % interval (Student's t, {len(epochs) // len(BLOCK)} blocks)\n"
        f"garbage collector: {collector:.3f} s of every epoch"
    )
    measured = [column[name].seconds for column in columns for name in ("without", "with", "a checkpoint written")]
    derived = [
        value for column in columns for each in column.values() for value in (each.seconds, each.half_width or 0)
    ]
    print_table(table, 6, measured, derived, width=100)


def _estimates(unit: str, epochs: list[Usage], checkpoints: list[Usage]) -> dict[str, Estimate]:
    """The table's rows in one unit of `Usage`."""
    took, parts = ([getattr(usage, unit) for usage in usages] for usages in (epochs, checkpoints))
    without = mean(seconds for number, seconds in enumerate(took) if not BLOCK[number % len(BLOCK)])
    difference, copied, written = _difference(took), median(parts[::2]), median(parts[1::2])
    return {
        "without": Estimate(without),
        "with": Estimate(without + difference.seconds),
        "the difference": difference,
        "a checkpoint written": Estimate(written),
        "the difference but for writing": Estimate(difference.seconds - written, difference.half_width),
        "a state copied": Estimate(copied),
    }


def _difference(took: list[float]) -> Estimate:
    """Seconds of an epoch "with" less those of one "without": the mean over blocks."""
    differences = []
    for first in range(0, len(took), len(BLOCK)):
        block = zip(took[first : first + len(BLOCK)], BLOCK, strict=True)
        differences.append(sum(seconds if enabled else -seconds for seconds, enabled in block) / (len(BLOCK) / 2))
    count = len(differences)
    return Estimate(mean(differences), float(stdtrit(count - 1, 0.975)) * stdev(differences) / count**0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--train-dir", type=Path, default=Path("data/train"), help="photos, a folder per class (data/train)"
    )
    parser.add_argument("--blocks", type=int, default=11, help="of four epochs each, at least 2 (11)")
    parser.add_argument(
        "--img-size", type=int, default=192, help="pixels; smaller ones make the cost a larger share (192)"
    )
    parser.set_defaults(model=MODEL)
    args = parse_arguments(parser, QUICK)
    if args.blocks < 2:
        parser.error("--blocks: at least 2, as one alone has no interval")
    missing = [name for name in CLASSES if not (args.train_dir / name).is_dir()]
    if missing and not args.quick:
        parser.exit(
            2, f"error: {args.train_dir}: no photos of {', '.join(missing)}. `flowerml dataset fetch` gets some\n"
        )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.quick:
            photos = len(make_flowers(folder / "photos", per_class=12, size=48))
        else:
            photos = link_photos(args.train_dir, folder / "photos")
        epochs, checkpoints = measure(folder / "photos", folder, args.model, args.blocks, args.img_size)
    print_estimates(photos, epochs, checkpoints)


if __name__ == "__main__":
    main()
