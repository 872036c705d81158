"""What a store's database does for a backup: dumped while a server uses it, and restored whole or not at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection

from flowerml.errors import UserError
from flowerml.tracking.backup.locations import local_folders, rows_by_table

_TABLES = {"experiments", "runs"}


@dataclass(frozen=True)
class DumpContents:
    """What a dump holds: rows by table, and the local folders that artifacts are in."""

    rows: Mapping[str, int]
    folders: frozenset[str]


@dataclass(frozen=True)
class FolderMove:
    """Absolute paths of the folder that artifacts were in, and of the one that they are in now."""

    old: str
    new: str


class Database(Protocol):
    """A store's database."""

    kind: str

    def dump(self, target: Path) -> DumpContents:
        """Write what is in the database at one moment to the new file `target`. Raises UserError."""
        ...

    def check_empty(self) -> None:
        """Raise UserError if there is something in it, or if it can't be reached."""

    def restore(self, dump: Path, rows: Mapping[str, int], move: FolderMove | None) -> int:
        """Put `dump` into the database, in which there are `rows` then; after an exception it is empty again.

        Locations of artifacts are changed as `move` says; returns in how many places.

        Raises:
            UserError: the database refuses, or has other rows afterwards.
        """


def read_contents(connection: Connection, store: str) -> DumpContents:
    """What is in MLflow's tables. Raises UserError for a database without them."""
    rows = rows_by_table(connection)
    if not rows.keys() >= _TABLES:
        raise UserError(f"--store {store} is no tracking store of MLflow: it has no table `runs`. Name its database")
    return DumpContents(rows, local_folders(connection))


def check_rows(connection: Connection, rows: Mapping[str, int], store: str) -> None:
    """Raise UserError if the tables have other numbers of rows."""
    found = rows_by_table(connection)
    different = sorted(name for name in rows.keys() | found.keys() if rows.get(name) != found.get(name))
    if different:
        name = different[0]
        raise UserError(
            f"--store {store}: the table {name} has {found.get(name, 0)} rows and not the {rows.get(name, 0)} of the"
            " backup, so it is emptied again. Take another backup"
        )
