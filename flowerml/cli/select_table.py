"""Print a selection: the ranking, ineligible runs with reasons, remarks, and the decision as text."""

import sys
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flowerml.selection.decision import Decision
from flowerml.selection.table import SEEDS_ALONE, column_names, has_seeds_alone, is_numeric, standing_cells
from flowerml.translation import ENGLISH, Translation

# Rows of the ranking, and lines of each list below it: a screen or two. The run's decision.md has all.
_ROWS, _LINES = 30, 15
_FILE_WIDTH = 160  # columns when stdout is not a terminal


def print_decision(decision: Decision, texts: Translation = ENGLISH) -> None:
    """Print to stdout. Without an eligible configuration the sentences are left out: the error has them.

    Reasons and remarks are messages about runs: English in every language.
    """
    _ = texts.gettext
    console = Console(width=None if sys.stdout.isatty() else _FILE_WIDTH, highlight=False)
    scope = decision.scope
    what = _(" and ").join(scope.kinds)
    if scope.campaign:
        what += _(" of campaign {campaign}", campaign=scope.campaign)
    line = _(
        "{family}: {what}, data {data}, split {split}",
        family=scope.family or _("all families"),
        what=what,
        data=decision.data_digest[:8],
        split=decision.split_digest[:8],
    )
    _print_line(console, line)
    if decision.standings:
        console.print(_ranking_table(decision, console, texts))
        if len(decision.standings) > _ROWS:
            more = len(decision.standings) - _ROWS
            _print_line(console, _("  and {number} more (the run's table.csv has all)", number=more))
        if has_seeds_alone(decision.standings[:_ROWS]):
            _print_line(console, texts.translated(SEEDS_ALONE))
    reasons = [f"{one.label}: {'; '.join(one.reasons)}" for one in decision.ineligible]
    _print_list(console, _("not eligible: {number}", number=len(reasons)), reasons, texts)
    _print_list(console, _("remarks: {number}", number=len(decision.remarks)), decision.remarks, texts)
    if decision.winner is not None:
        console.print()
        for sentence in decision.explain(texts):
            _print_line(console, sentence)


def _ranking_table(decision: Decision, console: Console, texts: Translation) -> Table:
    """The ranking as a table; on a narrow terminal some columns are stacked."""
    columns, rows = (
        column_names(decision, texts),
        [standing_cells(standing, decision.scope.rule) for standing in decision.standings[:_ROWS]],
    )
    table = _rich_table(columns, rows, texts)
    if console.measure(table, options=console.options.update(max_width=1000)).maximum <= console.width:
        return table
    place, above, _, *others = _stacked_columns(columns, texts)
    stacked = [_stacked_columns(row, texts) for row in rows]
    return _rich_table([place, above, texts.gettext("mean"), *others], stacked, texts)


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]], texts: Translation) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if is_numeric(column, texts) else "left", no_wrap=True)
    for place, row in enumerate(rows):
        # As Text, not as a string: a model's name may have brackets, which are rich's own markup.
        table.add_row(*map(Text, row), style="bold" if place == 0 else "")
    return table


def _stacked_columns(row: Sequence[str], texts: Translation) -> list[str]:
    """Stack columns of a row: model over configuration, mean over deviation over macro-F1, one line per seed."""
    place, config, model, _, mean, deviation, interval, macro_f1, *recall, best, seeds = row
    figures = [mean, f"{texts.gettext('sd')} {deviation}" if deviation else "", f"F1 {macro_f1}"]
    figures += [f"{texts.gettext('recall')} {mean}" for mean in recall]
    return [
        place,
        f"{model}\n{config}",
        "\n".join(filter(None, figures)),
        interval,
        best,
        seeds.replace(", ", "\n").replace(" ", "\n"),
    ]


def _print_list(console: Console, title: str, lines: Sequence[str], texts: Translation) -> None:
    if not lines:
        return
    _print_line(console, f"\n{title}")
    for line in lines[:_LINES]:
        _print_line(console, f"  {line}")
    if len(lines) > _LINES:
        more = len(lines) - _LINES
        _print_line(console, texts.gettext("  and {number} more (the run's decision.md has all)", number=more))


def _print_line(console: Console, text: str) -> None:
    """Wrap a sentence between words on a terminal; keep it on one line in a file."""
    console.print(Text(text), soft_wrap=not sys.stdout.isatty())
