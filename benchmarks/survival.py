"""What it costs that a run survives: the time of an epoch with journal, heartbeat and checkpoints against without.
About 20 minutes.

    python benchmarks/survival.py [--train-dir data/train] [--blocks 11] [--img-size 192]

MobileNetV2 is trained by `run_training` into a fresh SQLite store, as `flowerml train` does it, at the 192 px of the
README's example, on 1,000 photos (fewer where there are not so many). An epoch "with" begins by keeping all there is of
the one before: the row of `history.csv`, the record in the journal and so at MLflow, `best.pth`, the checkpoint; and
gives its signs of life. One "without" does nothing of that. They come in blocks of four, without, with, with, without,
so that a machine which gets slower over the minutes slows both alike. All are of one process: two processes that train
the same differ by up to 3 % from each other for as long as they live, by where their memory happens to lie.

A checkpoint is written while the epoch runs, on the same cores where there is only the CPU: the lower rows say what
that takes where nothing runs beside it, and what is left of the difference without it. CPU seconds are those of the
process, all its threads, and hang less on who else uses the machine than the clock's.
"""

import argparse
import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table
from scipy.special import stdtrit

from flowerml.data.synthetic.flowers import CLASSES
from flowerml.runs import train as training
from flowerml.runs.lifecycle.lease import Lease
from flowerml.settings import resolve
from flowerml.tracking import start_run
from flowerml.tracking.delivery.journal_delivery import JournalDelivery
from flowerml.training.callbacks import Callbacks, Candidate, EpochMetrics, TrainingResult
from flowerml.training.checkpoints.checkpoint import save_plain
from flowerml.training.checkpoints.progress import Progress, StateDict, copy_to_cpu
from flowerml.training.checkpoints.store import CheckpointStore
from flowerml.training.trainer import train

PHOTOS = 1000
BLOCK = (False, True, True, False)  # whether with all of it
CHECKPOINTS = 5  # written at the end, by themselves
MODEL = {
    **{"model": "timm:mobilenetv2_100", "weights": "none"},
    **{"freeze_backbone_epochs": 0, "warmup_epochs": 1, "patience": 0},
}
T = TypeVar("T")


@dataclass(frozen=True)
class Spent:
    """Seconds: by the clock, of the process on all cores, and of those in the garbage collector."""

    clock: float
    cpu: float
    collecting: float = 0.0

    def __sub__(self, other: "Spent") -> "Spent":
        return Spent(self.clock - other.clock, self.cpu - other.cpu, self.collecting - other.collecting)


class Collecting:
    """Adds up the seconds in the garbage collector."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since = 0.0
        gc.callbacks.append(self._hear)

    def _hear(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._since = time.perf_counter()
        else:
            self.seconds += time.perf_counter() - self._since


class Switch:
    """Stands between the loop and those who keep what it tells: lets it through at the beginning of every epoch that is
    "with".
    """

    def __init__(self) -> None:
        self._collecting = Collecting()
        self._begun: Spent | None = None
        self._number = -1  # of the epoch under way among those that count
        self.on = True
        self.spent: list[Spent] = []
        self.state: tuple[Progress, StateDict] | None = None

    def now(self) -> Spent:
        """Since whenever."""
        return Spent(time.perf_counter(), time.process_time(), self._collecting.seconds)

    def turn(self) -> None:
        """An epoch is over. The first one, and the one after it (with all of it), do not count."""
        now = self.now()
        if self._begun is not None and self._number >= 0:
            self.spent.append(now - self._begun)
        if self._begun is not None:
            self._number += 1
            self.on = BLOCK[self._number % len(BLOCK)]
        self._begun = now

    def between(self, told: Callbacks) -> Callbacks:
        """Observers who hear only of epochs that are "with"."""

        def on_epoch(row: EpochMetrics) -> None:
            self.turn()
            if self.on:
                told.on_epoch(row)

        def on_best(candidate: Candidate) -> None:
            if self.on:
                told.on_best(candidate)

        def on_state(place: Progress, content: StateDict) -> None:
            self.state = place, content
            if self.on:
                told.on_state(place, content)

        return replace(told, on_epoch=on_epoch, on_best=on_best, on_state=on_state)

    def only_with(self, sign: Callable[[T], None]) -> Callable[[T], None]:
        """A sign of life that is given only in epochs that are "with"."""

        def given(self_of_sign: T) -> None:
            if self.on:
                sign(self_of_sign)

        return given


@contextmanager
def switched(switch: Switch, at_the_end: Callable[[], None]) -> Iterator[None]:
    """Inside, a run's training is told to `switch` first; `at_the_end` is called after its last epoch."""

    def measured(*parts: Any, callbacks: Callbacks, **more: Any) -> TrainingResult:  # noqa: ANN401 - as `train` has them
        outcome = train(*parts, callbacks=switch.between(callbacks), **more)
        at_the_end()
        return outcome

    before = Lease.heartbeat, JournalDelivery.send_heartbeat, JournalDelivery.assert_running
    Lease.heartbeat = switch.only_with(Lease.heartbeat)  # type: ignore[method-assign]
    JournalDelivery.send_heartbeat = switch.only_with(JournalDelivery.send_heartbeat)  # type: ignore[method-assign]
    JournalDelivery.assert_running = switch.only_with(JournalDelivery.assert_running)  # type: ignore[method-assign]
    training.train = measured  # type: ignore[attr-defined]
    try:
        yield
    finally:
        training.train = train  # type: ignore[attr-defined]
        Lease.heartbeat, JournalDelivery.send_heartbeat, JournalDelivery.assert_running = before  # type: ignore[method-assign]


def measure(photos: Path, folder: Path, blocks: int, edge: int) -> tuple[Switch, list[Spent]]:
    """The training; what its epochs took, and in turn what copying a state, and writing `best.pth` and the checkpoint
    takes.
    """
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    where = {"train_dir": str(photos), "output_dir": str(folder / "run"), "duplicates": "keep"}
    settings = resolve({**MODEL, **where, "img_size": edge, "epochs": len(BLOCK) * blocks + 2})[0]
    switch, parts = Switch(), list[Spent]()

    def by_themselves() -> None:
        assert switch.state is not None
        parts.extend(_writing(switch, switch.state[1], CheckpointStore(folder / "state", "", 0, 2)))

    with switched(switch, by_themselves):
        training.run_training(settings, start_run)
    return switch, parts


def _writing(switch: Switch, content: StateDict, checkpoints: CheckpointStore) -> list[Spent]:
    best = checkpoints.folder.parent / "best.pth"
    spent = []
    for number in range(CHECKPOINTS):
        begun = switch.now()
        copied = copy_to_cpu(content)
        spent.append(switch.now() - begun)
        begun = switch.now()
        save_plain(best, copied["model"])
        checkpoints.save(Progress(number, 0), copied, best)
        spent.append(switch.now() - begun)
    return spent


def choose(source: Path, target: Path) -> int:
    """Links to as many photos of each class; how many in all."""
    count = 0
    for name in CLASSES:
        (target / name).mkdir(parents=True)
        for photo in sorted((source / name).iterdir())[: PHOTOS // len(CLASSES)]:
            (target / name / photo.name).symlink_to(photo.resolve())
            count += 1
    return count


@dataclass(frozen=True)
class Figure:
    """A number of seconds; `about` is half its 95 % interval, None where it has none."""

    seconds: float
    about: float | None = None

    def shown(self, whole: float) -> tuple[str, str]:
        """The seconds, and the share of `whole` they are."""
        share = (
            f"{self.seconds / whole:.2%}"
            if self.about is None
            else f"{self.seconds / whole:+.2%} ± {self.about / whole:.2%}"
        )
        return f"{self.seconds:.2f}", share


def show(photos: int, spent: list[Spent], parts: list[Spent]) -> None:
    """The table."""
    columns = [_column(unit, spent, parts) for unit in ("clock", "cpu")]
    table = Table(
        "",
        "seconds",
        "of an epoch",
        "CPU seconds",
        "of an epoch",
        title=f"an epoch of {photos:,} photos, {len(spent)} epochs",
    )
    for name in columns[0]:
        table.add_row(name, *(text for column in columns for text in column[name].shown(column["without"].seconds)))
    collecting = mean(one.collecting for one in spent)
    table.caption = (
        f"± is half a 95 % interval (Student's, {len(spent) // len(BLOCK)} blocks)\ngarbage collector: {collecting:.3f}"
        " s of every epoch"
    )
    Console(width=100).print(table)


def _column(unit: str, spent: list[Spent], parts: list[Spent]) -> dict[str, Figure]:
    """The table's rows in one unit of `Spent`."""
    took, beside = ([getattr(one, unit) for one in each] for each in (spent, parts))
    without = mean(seconds for number, seconds in enumerate(took) if not BLOCK[number % len(BLOCK)])
    extra, copied, written = _extra(took), median(beside[::2]), median(beside[1::2])
    return {
        "without": Figure(without),
        "with": Figure(without + extra.seconds),
        "the difference": extra,
        "a checkpoint written": Figure(written),
        "the difference but for writing": Figure(extra.seconds - written, extra.about),
        "a state copied": Figure(copied),
    }


def _extra(took: list[float]) -> Figure:
    """How many seconds more an epoch "with" takes than one "without": a mean over blocks."""
    differences = []
    for first in range(0, len(took), len(BLOCK)):
        block = zip(took[first : first + len(BLOCK)], BLOCK, strict=True)
        differences.append(sum(seconds if way else -seconds for seconds, way in block) / (len(BLOCK) / 2))
    count = len(differences)
    return Figure(mean(differences), float(stdtrit(count - 1, 0.975)) * stdev(differences) / count**0.5)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What journal, heartbeat and checkpoints cost an epoch.")
    parser.add_argument(
        "--train-dir", type=Path, default=Path("data/train"), help="photos, a folder per class (data/train)"
    )
    parser.add_argument("--blocks", type=int, default=11, help="of four epochs each, at least 2 (11)")
    parser.add_argument(
        "--img-size", type=int, default=192, help="pixels; smaller ones make the cost a larger share (192)"
    )
    asked = parser.parse_args()
    if asked.blocks < 2:
        parser.error("--blocks: at least 2, as one alone has no interval")
    source = asked.train_dir
    if missing := [name for name in CLASSES if not (source / name).is_dir()]:
        print(
            f"{source}: no photos of {', '.join(missing)}: nothing is measured. `flowerml dataset fetch` brings some",
            file=sys.stderr,
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        photos = choose(source, Path(folder) / "photos")
        switch, parts = measure(Path(folder) / "photos", Path(folder), asked.blocks, asked.img_size)
        show(photos, switch.spent, parts)


if __name__ == "__main__":
    main()
