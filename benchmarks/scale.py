"""Large folders and many classes: near-duplicates, the split, and the artifacts of an evaluation.

    python benchmarks/scale.py [--sizes 4000,16000,64000,256000,1000000] [--rounds 3] [--all-pairs-up-to 64000]

One picture in a hundred is an edit of another (one to four bits of its hash changed). Against it stands the loop that
one writes with imagehash and numpy: every hash compared with all others. Both run in turn and must find the same pairs.
The classes of the split are as many as the root of its pictures, at most 1,000. The first table gives seconds by size
and the exponent that fits them; the second the time and the memory of all artifacts of 5,000 evaluated pictures, four
in five of them right, by the number of classes.
"""

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import psutil
from PIL import Image
from rich.table import Table
from support.harness import logger, parse_arguments, print_table

from flowerml.data.loader import Example
from flowerml.data.quality.near_duplicates import MAX_DISTANCE, near_duplicate_links
from flowerml.data.scan import Picture, Scan
from flowerml.data.splits.split import draw_split
from flowerml.evaluation.metrics import Predictions, compute_metrics, format_scores
from flowerml.runs.outputs.artifacts import write_evaluation
from flowerml.tasks.flowers import FlowersTask

QUICK = {"sizes": "500,1000", "rounds": 1, "all_pairs_up_to": 1000, "classes": "5,50", "evaluated": 200}


def make_pictures(size: int, classes: int) -> list[Picture]:
    """Pictures that have a hash and no pixels."""
    rng = np.random.default_rng(size)
    hashes = rng.integers(0, 2**64, size, dtype=np.uint64)
    for copy in rng.choice(size, size // 100, replace=False):
        bits = rng.choice(64, rng.integers(1, MAX_DISTANCE + 1), replace=False)
        hashes[copy] = hashes[rng.integers(size)] ^ np.bitwise_or.reduce(np.uint64(1) << bits.astype(np.uint64))
    return [
        Picture(f"{at % classes}/{at}", str(at % classes), f"{at % classes}/{at}", f"{at:064x}", 1, 1, int(value))
        for at, value in enumerate(hashes)
    ]


def all_pairs(pictures: list[Picture]) -> np.ndarray:
    """Every hash against all others, a row at a time."""
    hashes = np.array([picture.phash for picture in pictures], np.uint64)
    found = []
    for at in range(len(hashes) - 1):
        near = np.flatnonzero(np.bitwise_count(hashes[at + 1 :] ^ hashes[at]) <= MAX_DISTANCE)
        found.extend((at, at + 1 + int(other)) for other in near)
    return np.array(found, np.int64).reshape(-1, 2)


def seconds(function: Callable[[], object]) -> tuple[float, object]:
    """The wall time of a call, and what it returns."""
    began = time.perf_counter()
    result = function()
    return time.perf_counter() - began, result


def evaluated_pictures(classes: int, count: int) -> tuple[Predictions, list[Example]]:
    """Predictions of generated pictures, four in five of them right."""
    rng = np.random.default_rng(classes)
    labels = np.arange(count) % classes
    logits = rng.normal(size=(count, classes)).astype(np.float32)
    logits[np.arange(count), np.where(rng.random(count) < 0.8, labels, rng.integers(classes, size=count))] += 8
    names = tuple(f"class-{number:04}" for number in range(classes))
    examples = [
        Example(
            f"{names[label]}/{number}.jpg", int(label), partial(Image.new, "RGB", (224, 224), (number % 256, 90, 40))
        )
        for number, label in enumerate(labels)
    ]
    return Predictions(names, tuple(example.id for example in examples), labels, logits), examples


def artifacts(classes: int, count: int) -> tuple[float, float]:
    """Seconds, and MB above what the process took before, for metrics, text and files of an evaluation."""
    predictions, examples = evaluated_pictures(classes, count)
    before = psutil.Process().memory_info().rss
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        scores = compute_metrics(predictions)
        format_scores(scores, "accuracy")
        files = write_evaluation(Path(folder), "scale", predictions, scores, FlowersTask(), examples)
        spent = time.perf_counter() - began
    if len(files) != 5:
        raise RuntimeError(f"{classes} classes: only {[path.name for path in files]} were written")
    return spent, max(0.1, (peak_memory() - before) / 1e6)


def peak_memory() -> int:
    """Bytes of this process's peak of resident memory (Linux). `ru_maxrss` would not begin below its parent's."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def artifacts_table(classes: list[int], count: int, rounds: int) -> None:
    """Measure in processes of their own, and print."""
    table = Table("classes", "seconds", "memory [MB]", title=f"all artifacts of {count:,} evaluated pictures")
    measured: list[float] = []
    for number in classes:
        results = []
        for _ in range(rounds):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                results.append(pool.apply(artifacts, (number, count)))
        times, memory = zip(*results, strict=True)
        table.add_row(f"{number:,}", _cell(list(times)), _cell(list(memory)))
        measured += [*times, *memory]
    print_table(table, len(classes), measured, width=118)


def exponent(sizes: list[int], times: list[float]) -> float:
    """The slope of a straight line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def main() -> int:
    """Measure and print. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="4000,16000,64000,256000,1000000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--all-pairs-up-to", type=int, default=64_000)
    parser.add_argument("--classes", default="5,50,200,1000")
    parser.add_argument("--evaluated", type=int, default=5000, help="pictures (default: 5000)")
    arguments = parse_arguments(parser, QUICK)
    sizes = [int(size) for size in arguments.sizes.split(",")]
    table = Table(title=f"seconds, median of {arguments.rounds} (range)")
    for name in ("pictures", "near-duplicates", "all pairs", "ratio", "classes", "split"):
        table.add_column(name, justify="right")
    medians: dict[str, list[float]] = {"near-duplicates": [], "all pairs": [], "split": []}
    for size in sizes:
        classes = min(1000, int(size**0.5))
        pictures = make_pictures(size, classes)
        scan = Scan(Path(), tuple(sorted({picture.label for picture in pictures})), tuple(pictures), (), ())
        times: dict[str, list[float]] = {name: [] for name in medians}
        for _ in range(arguments.rounds):
            spent, links = seconds(lambda: near_duplicate_links(pictures))  # noqa: B023 - called at once
            times["near-duplicates"].append(spent)
            if size <= arguments.all_pairs_up_to:
                spent, expected = seconds(lambda: all_pairs(pictures))  # noqa: B023
                times["all pairs"].append(spent)
                if not np.array_equal(links, expected):
                    raise RuntimeError(f"{size} pictures: {len(links)} pairs are not the {len(expected)} of all pairs")
            spent, _ = seconds(lambda: draw_split(scan, range(size), 0.2, 11))  # noqa: B023
            times["split"].append(spent)
        for name, values in times.items():
            medians[name] += [statistics.median(values)] if values else []
        pairs = zip(times["all pairs"], times["near-duplicates"], strict=False)
        ratios = [slow / fast for slow, fast in pairs]
        cells = [_cell(times[name]) for name in ("near-duplicates", "all pairs")]
        table.add_row(f"{size:,}", *cells, _cell(ratios, "x"), f"{classes:,}", _cell(times["split"]))
        logger.info(f"{size:,} pictures: {len(links):,} near pairs")
    slopes = {name: f"{exponent(sizes[: len(v)], v):.2f}" if len(v) > 1 else "–" for name, v in medians.items()}
    table.add_section()
    table.add_row("exponent", slopes["near-duplicates"], slopes["all pairs"], "", "", slopes["split"])
    print_table(table, len(sizes) + 1, [value for values in medians.values() for value in values], width=118)
    classes = [int(number) for number in arguments.classes.split(",")]
    artifacts_table(classes, arguments.evaluated, arguments.rounds)
    return 0


def _cell(values: list[float], unit: str = "") -> str:
    if not values:
        return "–"
    return f"{statistics.median(values):.3g}{unit} ({min(values):.3g} to {max(values):.3g})"


if __name__ == "__main__":
    sys.exit(main())
