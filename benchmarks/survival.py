"""What it costs that a run survives: the time of an epoch with journal, heartbeat and checkpoints against without. About 25 minutes.

    python benchmarks/survival.py [--train-dir data/train] [--epochs 9] [--img-size 192]

MobileNetV2 is trained twice, at the 192 px of the README's example, on the same 1,000 photos (fewer where there are not so many), each
time in a process of its own: "with" is `run_training` into a fresh SQLite store, as `flowerml train` runs it; "without" is the bare loop,
which writes nothing at all. The two take
turns after each epoch, so that whatever else the machine does meets both; the first epoch of each is left out. A checkpoint is written
while the next epoch runs, on the same cores where there is only the CPU: the last rows say what that takes where nothing runs beside it,
and what is left of the difference without it. CPU seconds are those of the training's process, all its threads, and hang less on who else
uses the machine than the clock's.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Semaphore
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from flowerml.data.generate import CLASSES
from flowerml.data.loading import Loader, evaluation_loader, training_loader
from flowerml.models.builders import set_channels_last
from flowerml.runs.prepare import Prepared, prepare
from flowerml.runs.training import run_training
from flowerml.settings import resolve
from flowerml.training.checkpoint import save_plain
from flowerml.training.keeping import Checkpoints
from flowerml.training.loop import train
from flowerml.training.outcome import Observers, Row
from flowerml.training.place import Content, Place, snapshot

PHOTOS = 1000
CHECKPOINTS = 5  # written at the end, by themselves
MODEL = {
    **{"model": "timm:mobilenetv2_100", "weights": "none"},
    **{"freeze_backbone_epochs": 0, "warmup_epochs": 1, "patience": 0},
}


@dataclass(frozen=True)
class Spent:
    """Seconds: by the clock, and of the process on all cores."""

    clock: float
    cpu: float

    @classmethod
    def now(cls) -> "Spent":
        """Since whenever."""
        return cls(time.perf_counter(), time.process_time())

    @classmethod
    def since(cls, begun: "Spent") -> "Spent":
        """Between `begun` and now."""
        return cls(time.perf_counter() - begun.clock, time.process_time() - begun.cpu)


class Turns:
    """Lets one training run at a time, an epoch each, and measures its epochs."""

    def __init__(self, mine: Semaphore, others: Semaphore) -> None:
        self._mine, self._others = mine, others
        self._since = Spent(0.0, 0.0)
        self.spent: list[Spent] = []

    def begin(self) -> None:
        """Wait for the first turn."""
        self._mine.acquire()
        self._since = Spent.now()

    def epoch_over(self) -> None:
        """An epoch is over: the other one's turn."""
        self.spent.append(Spent.since(self._since))
        self._others.release()
        self._mine.acquire()
        self._since = Spent.now()


def with_all(words: dict[str, Any], turns: Turns, folder: Path) -> list[Spent]:
    """As `flowerml train`."""
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    from flowerml.tracking import start_run

    def on_row(_row: Row) -> str:
        turns.epoch_over()
        return ""

    turns.begin()
    run_training(resolve(words)[0], start_run, on_row=on_row)
    return []


def without(words: dict[str, Any], turns: Turns, folder: Path) -> list[Spent]:
    """The bare loop. What copying a state, and writing `best.pth` and the checkpoint takes, in turn."""
    turns.begin()
    run = prepare(resolve(words)[0])
    memory_format = set_channels_last(run.built.model, run.spec)
    states: list[tuple[Place, Content]] = []

    def nothing(_what: object) -> None:
        return None

    observers = Observers(lambda _row: turns.epoch_over(), nothing, nothing, lambda *state: states.append(state))
    to_train, to_val = _loaders(run)
    train(
        run.built,
        run.settings,
        run.data.classes,
        to_train,
        to_val,
        device=run.device,
        memory_format=memory_format,
        balance=run.balance,
        observers=observers,
    )
    return _writing(states[-1][1], Checkpoints(folder / "state", run.config_id, run.settings.seed, 2))


def _loaders(run: Prepared) -> tuple[Loader, Loader]:
    to_train, to_evaluate = run.task.transforms(run.built.description, run.settings)
    size = run.settings.batch_size
    return (
        training_loader(run.data.train, to_train, batch_size=size, workers=run.workers, seed=run.settings.seed),
        evaluation_loader(run.data.val, to_evaluate, batch_size=size, workers=run.workers),
    )


def _writing(content: Content, checkpoints: Checkpoints) -> list[Spent]:
    best = checkpoints.folder.parent / "best.pth"
    spent = []
    for number in range(CHECKPOINTS):
        begun = Spent.now()
        copied = snapshot(content)
        spent.append(Spent.since(begun))
        begun = Spent.now()
        save_plain(best, copied["model"])
        checkpoints.save(Place(number, 0), copied, best)
        spent.append(Spent.since(begun))
    return spent


WAYS: dict[str, Callable[[dict[str, Any], Turns, Path], list[Spent]]] = {"without": without, "with": with_all}


def work(way: str, words: dict[str, Any], mine: Semaphore, others: Semaphore, folder: Path, answer: Connection) -> None:
    """One of the two trainings, in its own process; answers with what its epochs took."""
    sys.stderr = (folder / f"{way}.log").open("w", encoding="utf-8")
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)  # as usual, for the loaders
    turns = Turns(mine, others)
    rest = WAYS[way](words, turns, folder)
    others.release()
    answer.send((turns.spent, rest))


def measure(photos: Path, folder: Path, epochs: int, edge: int) -> dict[str, tuple[list[Spent], list[Spent]]]:
    """Both trainings, taking turns."""
    context = multiprocessing.get_context("spawn")
    first, second = context.Semaphore(1), context.Semaphore(0)
    begun: list[tuple[str, SpawnProcess, Connection]] = []
    for way, mine, others in (("without", first, second), ("with", second, first)):
        where = {"train_dir": str(photos), "output_dir": str(folder / way), "duplicates": "keep"}
        words = {**MODEL, **where, "img_size": edge, "epochs": epochs}
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(way, words, mine, others, folder, send))
        process.start()
        send.close()  # else its death would not end the waiting
        begun.append((way, process, receive))
    try:
        return {way: receive.recv() for way, _, receive in begun}
    except EOFError:
        for way, process, _ in begun:
            process.terminate()
            print((folder / f"{way}.log").read_text(encoding="utf-8"), file=sys.stderr)
        sys.exit(1)


def choose(source: Path, target: Path) -> int:
    """Links to as many photos of each class; how many in all."""
    count = 0
    for name in CLASSES:
        (target / name).mkdir(parents=True)
        for photo in sorted((source / name).iterdir())[: PHOTOS // len(CLASSES)]:
            (target / name / photo.name).symlink_to(photo.resolve())
            count += 1
    return count


def show(photos: int, found: dict[str, tuple[list[Spent], list[Spent]]]) -> None:
    """The table."""
    (epochs, parts), (whole, _) = found["without"], found["with"]
    pairs = list(zip(epochs[1:], whole[1:], strict=True))
    clock, cpu = (sorted(getattr(b, unit) / getattr(a, unit) for a, b in pairs) for unit in ("clock", "cpu"))
    bare, written = _median([a for a, _ in pairs]), _median(parts[1::2])
    full = Spent(median(clock) * bare.clock, median(cpu) * bare.cpu)
    table = Table("", "seconds", "ratio", "CPU seconds", "ratio", title=f"an epoch of {photos:,} photos, medians of {len(pairs)}")
    for name, spent in (
        ("without", bare),
        ("with", full),
        ("the state copied", _median(parts[::2])),
        ("checkpoint written", written),
        ("cost but for writing", Spent(full.clock - bare.clock - written.clock, full.cpu - bare.cpu - written.cpu)),
    ):
        table.add_row(name, f"{spent.clock:.2f}", f"{spent.clock / bare.clock:.4f}", f"{spent.cpu:.2f}", f"{spent.cpu / bare.cpu:.4f}")
    table.caption = f"epoch by epoch {clock[0]:.3f} to {clock[-1]:.3f}, in CPU seconds {cpu[0]:.3f} to {cpu[-1]:.3f}"
    Console().print(table)


def _median(spent: list[Spent]) -> Spent:
    return Spent(median(each.clock for each in spent), median(each.cpu for each in spent))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What journal, heartbeat and checkpoints cost an epoch.")
    parser.add_argument("--train-dir", type=Path, default=Path("data/train"), help="photos, a folder per class (data/train)")
    parser.add_argument("--epochs", type=int, default=9, help="of each, the first is left out (9)")
    parser.add_argument("--img-size", type=int, default=192, help="pixels; smaller ones make the cost a larger share (192)")
    asked = parser.parse_args()
    source = asked.train_dir
    if missing := [name for name in CLASSES if not (source / name).is_dir()]:
        print(f"{source}: no photos of {', '.join(missing)}: nothing is measured. `flowerml dataset fetch` brings some", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder:
        photos = choose(source, Path(folder) / "photos")
        show(photos, measure(Path(folder) / "photos", Path(folder), asked.epochs, asked.img_size))


if __name__ == "__main__":
    main()
