"""What the benchmarks share: the flag `--quick`, the logger, the checks of a table before it is printed.

Where the environment variable BENCH_RESULTS names a file, each table is also added to it in Markdown: `make bench`
writes `benchmarks/RESULTS.md` so.
"""

import argparse
import logging
import math
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from flowerml.log import configure_logging
from flowerml.process.allocator import keep_freed_memory
from flowerml.process.environment import short_wait

logger = logging.getLogger("flowerml.benchmarks")  # below the package's logger, so that its handler prints it


def parse_arguments(parser: argparse.ArgumentParser, quick: Mapping[str, object]) -> argparse.Namespace:
    """The command line with the flag `--quick` added, which replaces the defaults of the arguments named in `quick`."""
    about = "small models, generated pictures, few rounds: shows that the benchmark runs; its figures mean nothing"
    parser.add_argument("--quick", action="store_true", help=about)
    configure_logging()  # rounds of a long benchmark are said
    if parser.parse_args().quick:
        parser.set_defaults(**quick)
    args = parser.parse_args()
    photos = getattr(args, "photos", None)
    if photos is not None and not photos.is_dir():
        parser.error(f"--photos {photos} is no folder: name one with a sub-folder of pictures per class")
    return args


def start_as_commands_do() -> None:
    """Start this script again with the environment of flowerml's commands where it is not set: OpenMP reads it once."""
    missing = short_wait(os.environ)
    if missing:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **missing})
    keep_freed_memory()


def ratio_cells(reference: Sequence[float], seconds: Sequence[float]) -> tuple[str, str]:
    """How many times as fast as `reference`, round by round: median, and range."""
    ratios = [first / value for first, value in zip(reference, seconds, strict=True)]
    return f"{median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}"


def print_table(
    table: Table, rows: int, measured: Iterable[float], derived: Iterable[float] = (), width: int | None = None
) -> None:
    """Check a table and print it, `width` columns wide (default: the terminal's).

    Raises:
        RuntimeError: it has not `rows` rows, nothing was measured, a measured figure is not finite and positive, or a
            derived one (a difference may be negative) is not finite.
    """
    measured, derived = list(measured), list(derived)
    if table.row_count != rows:
        raise RuntimeError(f"{table.title}: {table.row_count} rows instead of {rows}")
    if not measured or not all(math.isfinite(value) and value > 0 for value in measured):
        raise RuntimeError(f"{table.title}: not all figures are finite and positive: {measured}")
    if not all(math.isfinite(value) for value in derived):
        raise RuntimeError(f"{table.title}: not all figures are finite: {derived}")
    Console(width=width).print(table)
    if path := os.environ.get("BENCH_RESULTS"):
        add_to_results(Path(path), table)


def add_to_results(path: Path, table: Table) -> None:
    """Add a table in Markdown, with the command that measured it; a new file begins with the machine and versions."""
    cells = [list(column.cells) for column in table.columns]
    rows = [[str(column.header) for column in table.columns], ["---"] * len(cells), *zip(*cells, strict=True)]
    lines = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    command = " ".join([Path(sys.argv[0]).name, *(Path(word).name if "/" in word else word for word in sys.argv[1:])])
    text = f"\n## {table.title}\n\n`{command}`, {datetime.now(UTC):%Y-%m-%d}\n\n" + "\n".join(lines) + "\n"
    with path.open("a", encoding="utf-8") as file:
        file.write((header() if file.tell() == 0 else "") + text)


def header() -> str:
    """What a file of results begins with."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "timm", "mlflow", "pillow"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        "# Measured\n\nWritten by the scripts that `make bench` runs. Ratios are of rows measured in turns in"
        " one run; absolute figures differ from machine to machine and from day to day.\n\n"
        f"{cores} cores ({platform.machine()}), Python {platform.python_version()}, {libraries}.\n"
    )
