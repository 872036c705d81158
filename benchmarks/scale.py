"""Near-duplicates and the split of large folders: seconds by size, and the exponent that fits them.

    python benchmarks/scale.py [--sizes 4000,16000,64000,256000,1000000] [--rounds 3] [--all-pairs-up-to 64000]

One picture in a hundred is an edit of another (one to four bits of its hash changed). Against it stands the loop that
one writes with imagehash and numpy: every hash compared with all others. Both run in turn and must find the same pairs.
The classes of the split are as many as the root of its pictures, at most 1,000.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from rich.table import Table
from support.harness import logger, parse_arguments, print_table

from flowerml.data.quality.near_duplicates import MAX_DISTANCE, near_duplicate_links
from flowerml.data.scan import Picture, Scan
from flowerml.data.split import draw_split
from flowerml.log import configure_logging

QUICK = {"sizes": "500,1000", "rounds": 1, "all_pairs_up_to": 1000}


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


def exponent(sizes: list[int], times: list[float]) -> float:
    """The slope of a straight line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def main() -> int:
    """Measure and print. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="4000,16000,64000,256000,1000000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--all-pairs-up-to", type=int, default=64_000)
    arguments = parse_arguments(parser, QUICK)
    configure_logging()
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
    return 0


def _cell(values: list[float], unit: str = "") -> str:
    if not values:
        return "–"
    return f"{statistics.median(values):.3g}{unit} ({min(values):.3g} to {max(values):.3g})"


if __name__ == "__main__":
    sys.exit(main())
