"""A table (CSV) with the columns `path` and `label`: one picture a row, paths relative to the table's folder."""

import csv
import os
from pathlib import Path, PurePosixPath

from flowerml.data.sources.listing import ListedPicture, PictureList
from flowerml.data.table import Table, parse_table
from flowerml.errors import UserError
from flowerml.text import nfc, nfd

PATH, LABEL = "path", "label"
_NAMED = 20  # missing files that are listed


def read_table_list(root: Path) -> PictureList:
    """The pictures of the table `root`; absolute paths and paths out of its folder are taken too, with a remark.

    Raises:
        UserError: the table can't be read, is not UTF-8, lacks a column or rows, or names a file that is not there.
    """
    table = _read_table(root)
    pictures, missing, outside = [], [], 0
    folder = Path(os.path.abspath(root.parent))  # noqa: PTH100 - links stay, as they do below a folder of classes
    for row, line in zip(table.rows, table.lines, strict=True):
        where = f"line {line}"
        text, label = _fields(root, row, where)
        if (found := _existing(root.parent, text)) is None:
            missing.append(f"{where}: {text!r}")
            continue
        path = _relative_to(folder, root.parent / found)
        outside += not _is_below(path)
        pictures.append(ListedPicture(path, label, _location(root.parent, found), where))
    if missing:
        raise UserError(
            f"{root}: {len(missing)} of {len(table.rows)} files are not there (paths are relative to the table's"
            f" folder), the first in {missing[0]}",
            missing[1:_NAMED],
        )
    note = f"{outside} of {len(pictures)} pictures of {root.name} lie outside of its folder"
    return PictureList(pictures, (note,) if outside else ())


def _read_table(root: Path) -> Table:
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
    lacking = [name for name in (PATH, LABEL) if columns.count(name) != 1]
    if lacking:
        has = ", ".join(columns) or "none"
        raise UserError(
            f"{root}: needs one column {' and one '.join(lacking)}; its first line has {has}. Write the header"
            f" {PATH},{LABEL}"
        )
    if not table.rows:
        raise UserError(f"{root}: no rows below the header: add a row per picture")
    named = dict(zip(table.columns, columns, strict=True))
    rows = [{named.get(name, name): value for name, value in row.items()} for row in table.rows]
    return Table(rows, tuple(columns), table.delimiter, table.lines)


def _fields(root: Path, row: dict[str, str], where: str) -> tuple[str, str]:
    """Path and label of a row. Raises UserError."""
    if None in row:
        raise UserError(f"{root}, {where}: more fields than the header has: put text with a separator in quotes")
    text, label = row[PATH] or "", (row[LABEL] or "").strip()
    if not text.strip() or "\0" in text:
        raise UserError(f"{root}, {where}: the path is {text!r}: write that of a picture")
    return text, label


def _existing(folder: Path, text: str) -> str | None:
    """The path as it is on disk: with Windows' separators as `/`, or in another Unicode form, where it is not there."""
    for one in (text, text.replace("\\", "/")):
        for form in (one, nfc(one), nfd(one)):
            if os.path.exists(folder / form):  # noqa: PTH110 - Path.exists raises where a name is too long
                return form
    return None


def _location(folder: Path, path: str) -> Path:
    """The file, the same for two ways to write its path. Links are not resolved: each is a picture, as in a folder."""
    return Path(os.path.normpath(folder / path))


def _relative_to(folder: Path, path: Path) -> str:
    """The path below `folder`, or up from it, with `/`; an absolute one where that is how it leaves the folder."""
    whole = Path(os.path.abspath(path))  # noqa: PTH100
    if whole.is_relative_to(folder) or not path.is_absolute():
        return PurePosixPath(os.path.relpath(whole, folder)).as_posix()
    return whole.as_posix()


def _is_below(path: str) -> bool:
    return not path.startswith(("/", "../"))
