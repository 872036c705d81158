"""Tables (CSV) of users: separated by commas, semicolons (a spreadsheet's in many countries) or tabs."""

import csv
import io
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """The rows of a table by column name, its columns, what separates them, and the (last) line of each row."""

    rows: list[dict[str, str]]
    columns: tuple[str, ...]
    delimiter: str
    lines: tuple[int, ...] = ()


def parse_table(text: str, *, strict: bool = False) -> Table:
    """Parse a table whose first line names its columns; the separator is the one that this line has.

    A field that a row lacks is None; what a row has too much stands under the key None. `strict` refuses stray quotes.

    Raises:
        csv.Error: quotes or separators are wrong.
    """
    header = text.partition("\n")[0]
    delimiter = next((char for char in ",;\t" if char in header), ",")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=strict, delimiter=delimiter)
    rows, lines = [], []
    for row in reader:
        rows.append(row)
        lines.append(reader.line_num)
    return Table(rows, tuple(reader.fieldnames or ()), delimiter, tuple(lines))
