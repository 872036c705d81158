"""A table (CSV) with the columns `path` and `label`: one picture a row, paths relative to the table's folder."""

import csv
from pathlib import Path

from flowerml.data.sources.listing import PictureList
from flowerml.data.sources.table.file_rows import FileRow, list_files
from flowerml.data.table import Table, parse_table
from flowerml.errors import UserError

PATH, LABEL = "path", "label"


def read_table_list(root: Path) -> PictureList:
    """The pictures of the table `root`.

    Raises:
        UserError: the table can't be read, is not UTF-8, lacks a column or rows, or as `list_files`.
    """
    return list_files(root, read_rows(root))


def read_rows(root: Path, *, labelled: bool = True) -> list[FileRow]:
    """The rows of the table `root`, whose files may not be there. Raises UserError as `read_table_list`.

    A table that is not `labelled` needs the column `path` alone; labels are empty where it has none.
    """
    table = _read_table(root, (PATH, LABEL) if labelled else (PATH,))
    return [_row(root, row, f"line {line}") for row, line in zip(table.rows, table.lines, strict=True)]


def _read_table(root: Path, required: tuple[str, ...]) -> Table:
    try:
        data = root.read_bytes()
    except OSError as error:
        raise UserError(f"the list of pictures {str(root)!r} can't be read: {error.strerror}. Name another") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{root}, line {line}: not UTF-8. Save the table as CSV UTF-8") from error
    try:
        table = parse_table(text, strict=True)
    except csv.Error as error:
        raise UserError(f"{root}: can't be read as a table ({error}): mend its quotes and separators") from error
    columns = [column.strip() for column in table.columns]
    lacking = [name for name in required if columns.count(name) != 1]
    if lacking:
        has = ", ".join(columns) or "none"
        raise UserError(
            f"{root}: needs one column {' and one '.join(lacking)}; its first line has {has}. Write the header"
            f" {','.join(required)}"
        )
    if not table.rows:
        raise UserError(f"{root}: no rows below the header: add a row per picture")
    named = dict(zip(table.columns, columns, strict=True))
    rows = [{named.get(name, name): value for name, value in row.items()} for row in table.rows]
    return Table(rows, tuple(columns), table.delimiter, table.lines)


def _row(root: Path, row: dict[str, str], where: str) -> FileRow:
    if None in row:
        raise UserError(f"{root}, {where}: more fields than the header has: put text with a separator in quotes")
    return FileRow(row[PATH] or "", (row.get(LABEL) or "").strip(), where)
