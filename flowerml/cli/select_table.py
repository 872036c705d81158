"""A decision on the terminal: the ranking, what was not eligible and why, remarks, and the decision in words."""

import sys
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flowerml.selection.decision import Decision
from flowerml.selection.table import SEEDS_ALONE, column_names, has_seeds_alone, is_numeric, standing_cells

_ROWS, _LINES = (
    30,
    15,
)  # of the ranking, and of each list below it: what fits a screen or two; the run's decision.md has all
_IN_A_FILE = 160  # columns where no terminal says how wide it is


def show(decision: Decision) -> None:
    """Print it to stdout. Without an eligible configuration the words are left out: they are the error's line then."""
    console = Console(width=None if sys.stdout.isatty() else _IN_A_FILE, highlight=False)
    scope = decision.scope
    what = " and ".join(scope.kinds) + (f" of campaign {scope.campaign}" if scope.campaign else "")
    _line(
        console,
        f"{scope.family or 'all families'}: {what}, data {decision.data_digest[:8]}, split {decision.split_digest[:8]}",
    )
    if decision.standings:
        console.print(_ranking(decision, console))
        if len(decision.standings) > _ROWS:
            _line(console, f"  and {len(decision.standings) - _ROWS} more (the run's table.csv has all)")
        if has_seeds_alone(decision.standings[:_ROWS]):
            _line(console, SEEDS_ALONE)
    _list(
        console,
        f"not eligible: {len(decision.ineligible)}",
        [f"{one.label}: {'; '.join(one.reasons)}" for one in decision.ineligible],
    )
    _list(console, f"remarks: {len(decision.remarks)}", decision.remarks)
    if decision.winner is not None:
        console.print()
        for sentence in decision.sentences:
            _line(console, sentence)


def _ranking(decision: Decision, console: Console) -> Table:
    """The table's columns side by side; where the terminal is too narrow for that, some stand below each other."""
    columns, rows = column_names(decision), [standing_cells(standing) for standing in decision.standings[:_ROWS]]
    table = _table(columns, rows)
    if console.measure(table, options=console.options.update(max_width=1000)).maximum <= console.width:
        return table
    place, above, _, *others = _stacked(columns)
    return _table([place, above, "mean", *others], [_stacked(row) for row in rows])


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if is_numeric(column) else "left", no_wrap=True)
    for place, row in enumerate(rows):
        # As Text, not as a string: a model's name may have brackets, which are rich's own markup.
        table.add_row(*map(Text, row), style="bold" if place == 0 else "")
    return table


def _stacked(row: Sequence[str]) -> list[str]:
    """place, model above configuration, mean above deviation above macro-F1, interval, P(best), the seeds below each
    other.
    """
    place, config, model, _, mean, deviation, interval, macro_f1, best, seeds = row
    figures = [mean, f"sd {deviation}" if deviation else "", f"F1 {macro_f1}"]
    return [
        place,
        f"{model}\n{config}",
        "\n".join(filter(None, figures)),
        interval,
        best,
        seeds.replace(", ", "\n").replace(" ", "\n"),
    ]


def _list(console: Console, title: str, lines: Sequence[str]) -> None:
    if not lines:
        return
    _line(console, f"\n{title}")
    for line in lines[:_LINES]:
        _line(console, f"  {line}")
    if len(lines) > _LINES:
        _line(console, f"  and {len(lines) - _LINES} more (the run's decision.md has all)")


def _line(console: Console, text: str) -> None:
    """A sentence as it is: broken between words on a terminal, in one piece in a file."""
    console.print(Text(text), soft_wrap=not sys.stdout.isatty())
