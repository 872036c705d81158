"""What the benchmarks share: the flag `--quick`, the logger, the checks of a table before it is printed."""

import argparse
import logging
import math
from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.table import Table

logger = logging.getLogger("flowerml.benchmarks")  # below the package's logger, so that its handler prints it


def parse_arguments(parser: argparse.ArgumentParser, quick: Mapping[str, object]) -> argparse.Namespace:
    """The command line with the flag `--quick` added, which replaces the defaults of the arguments named in `quick`."""
    about = "small models, generated pictures, few rounds: shows that the benchmark runs; its figures mean nothing"
    parser.add_argument("--quick", action="store_true", help=about)
    if parser.parse_args().quick:
        parser.set_defaults(**quick)
    return parser.parse_args()


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
