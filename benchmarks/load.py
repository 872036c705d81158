"""Seconds and memory of loading a delivered file: mapped into a model built on the meta device, against the naive way.

    python benchmarks/load.py

About 5 minutes. Each measurement runs in a fork of its own, of a process that has done its imports only; the files are
written here (random weights) and are in the page cache for all rows. "ready" is the time until there is a model,
"first" includes its answer to one picture, which is when a mapped file is read. Memory is the peak of the resident set
(ru_maxrss) over that of the imports; pages of a mapped file count once they are touched, although the system may take
them back. Best of five rounds.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import open_clip  # noqa: F401 - imported before the forks: models are measured, not imports
import timm  # noqa: F401
import torch
from rich.table import Table
from support.harness import parse_arguments, print_table

from flowerml.models import build
from flowerml.prediction.standalone import flowers_classifier
from flowerml.settings import find_model
from flowerml.training.checkpoints.checkpoint import Checkpoint, save_checkpoint

CLASSES = ("daisy", "dandelion", "rose", "sunflower", "tulip")
SIZE = 224
COLUMNS = ("ready [s]", "first answer [s]", "peak when ready [MB]", "peak with answer [MB]")
QUICK = {"models": ("convnextv2_atto", "clip_vits32"), "rounds": 1}


def write_file(path: Path, name: str) -> None:
    """Write a delivered file of a model with random weights."""
    spec = find_model(name)
    built = build(spec, len(CLASSES), img_size=SIZE)
    save_checkpoint(path, Checkpoint(built.model.state_dict(), spec, CLASSES, built.description, 1, {}, {}, None))


def load_lean(path: Path) -> torch.nn.Module:
    """As `load_cnn_model` and `load_vit_model` do, the checksums in the file verified."""
    return flowers_classifier.load_model(path)


def load_lean_unchecked(path: Path) -> torch.nn.Module:
    """The same without verifying the checksums: comparable to the naive way."""
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return flowers_classifier.build_model(content, str(path))


def load_naive(path: Path) -> torch.nn.Module:
    """Random weights, then the file's in memory, then copied over."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    built = build(find_model(content["model"]["name"]), len(CLASSES), img_size=SIZE)
    built.model.load_state_dict(content["state_dict"])
    return built.model.eval()


LOADERS: dict[str, Callable[[Path], torch.nn.Module]] = {
    "naive": load_naive,
    "lean": load_lean,
    "lean, unchecked": load_lean_unchecked,
}


def measure(loader: str, path: Path) -> list[float]:
    """Seconds until ready and until the first answer, peak MB over the imports at both; once in a process."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    model = LOADERS[loader](path)
    ready = time.perf_counter() - started
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with torch.inference_mode():
        model(torch.zeros(1, 3, SIZE, SIZE))
    first = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return [ready, first, (loaded - before) / 1e3, (peak - before) / 1e3]


def call_in_fork(function: Callable[..., list[float] | None], *arguments: object) -> list[float] | None:
    """The function's result, from a forked process. This one must not have computed anything with torch before."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(function, arguments)


def print_figures(title: str, rows: dict[str, list[float]]) -> None:
    """One table; in brackets the ratio to its first row."""
    table = Table("", title=title)
    for heading in COLUMNS:
        table.add_column(heading, justify="right")
    first = rows["naive"]
    for name, row in rows.items():
        texts = [f"{value:.2f}" if column < 2 else f"{value:.0f}" for column, value in enumerate(row)]
        ratios = [value / base for value, base in zip(row, first, strict=True)]
        table.add_row(name, *(f"{text} ({ratio:.2f})" for text, ratio in zip(texts, ratios, strict=True)))
    print_table(table, len(LOADERS), [value for row in rows.values() for value in row])


def main() -> None:
    """Write the files, measure all loaders in turn, print the best of each with its ratio to the naive one's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(models=("convnextv2_large", "clip_vitl14"), rounds=5)
    args = parse_arguments(parser, QUICK)
    with tempfile.TemporaryDirectory() as folder:
        for name in args.models:
            path = Path(folder) / f"{name}.pth"
            call_in_fork(write_file, path, name)
            rounds = [{way: call_in_fork(measure, way, path) for way in LOADERS} for _ in range(args.rounds)]
            # The least disturbed of several rounds: other programs only ever add to a figure.
            best = {
                way: [min(values) for values in zip(*(figures[way] for figures in rounds), strict=True)]
                for way in LOADERS
            }
            print_figures(f"loading {name}, {path.stat().st_size / 1e6:.0f} MB, CPU (ratio to the naive way)", best)
            path.unlink()


if __name__ == "__main__":
    main()
