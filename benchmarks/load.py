"""Seconds and memory of loading a delivered file, mapped onto a model built without memory, against the naive way. 5
minutes.

Each row is a process of its own, measured in this run; files are written here (random weights) and are in the page
cache for all rows. "ready" is the time until a model stands that answers, imports left out; "first" also has one
picture's answer, which is when a mapped file is really read. Memory is the peak of resident pages (ru_maxrss) over that
of the imports alone; a mapped file's pages count in it when touched, although the system may take them back. Best of
five rounds.
"""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from flowerml.models import build
from flowerml.prediction.standalone import flowers_classifier
from flowerml.settings import find_model
from flowerml.training.checkpoints.checkpoint import Checkpoint, save_checkpoint

MODELS = ("convnextv2_large", "clip_vitl14")
CLASSES = ("daisy", "dandelion", "rose", "sunflower", "tulip")
SIZE = 224
ROUNDS = 5


def deliver(path: Path, name: str) -> None:
    """A file of a model with random weights, in a process of its own."""
    spec = find_model(name)
    built = build(spec, len(CLASSES), img_size=SIZE)
    save_checkpoint(path, Checkpoint(built.model.state_dict(), spec, CLASSES, built.description, 1, {}, {}, None))


def lean(path: Path) -> torch.nn.Module:
    """As `load_cnn_model` and `load_vit_model` do, the sums in the file checked."""
    return flowers_classifier.load_model(path)


def lean_unchecked(path: Path) -> torch.nn.Module:
    """The same without looking at the sums: what is comparable to the naive way."""
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return flowers_classifier.build_model(content, str(path))


def naive(path: Path) -> torch.nn.Module:
    """Random weights, then the file's in memory, then copied over."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    built = build(find_model(content["model"]["name"]), len(CLASSES), img_size=SIZE)
    built.model.load_state_dict(content["state_dict"])
    return built.model.eval()


WAYS: dict[str, Callable[[Path], torch.nn.Module]] = {"naive": naive, "lean": lean, "lean, unchecked": lean_unchecked}


def measure(way: str, path: Path) -> None:
    """Print seconds until ready, seconds until the first answer, peak MB over the imports; once for each process."""
    import open_clip  # noqa: F401 - measured are models, not imports
    import timm  # noqa: F401

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    model = WAYS[way](path)
    ready = time.perf_counter() - started
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with torch.inference_mode():
        model(torch.zeros(1, 3, SIZE, SIZE))
    first = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(ready, first, (loaded - before) / 1e3, (peak - before) / 1e3)


def in_fresh_process(*words: str) -> list[float]:
    done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def show(title: str, rows: dict[str, list[float]]) -> None:
    """One table; in brackets the ratio to its first row."""
    table = Table("", title=title)
    for heading in ("ready [s]", "first answer [s]", "peak when ready [MB]", "peak with answer [MB]"):
        table.add_column(heading, justify="right")
    first, *_ = rows.values()
    for name, row in rows.items():
        shown = [f"{value:.2f}" if place < 2 else f"{value:.0f}" for place, value in enumerate(row)]
        table.add_row(
            name, *(f"{text} ({value / base:.2f})" for text, value, base in zip(shown, row, first, strict=True))
        )
    Console().print(table)


def main() -> None:
    """Write the files, measure all ways in turn, print the best of each with its ratio to the naive way's."""
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            path = Path(folder) / f"{name}.pth"
            in_fresh_process("deliver", str(path), name)
            rounds = [{way: in_fresh_process("measure", way, str(path)) for way in WAYS} for _ in range(ROUNDS)]
            # The least disturbed of several: other programs only ever add to a figure.
            best = {way: [min(each[way][place] for each in rounds) for place in range(4)] for way in WAYS}
            show(f"loading {name}, {path.stat().st_size / 1e6:.0f} MB, CPU (ratio to the naive way)", best)
            path.unlink()


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(sys.argv[2], Path(sys.argv[3]))
    elif sys.argv[1:2] == ["deliver"]:
        deliver(Path(sys.argv[2]), sys.argv[3])
    else:
        main()
