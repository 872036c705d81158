"""A SQLite file: copied by SQLite's online backup, so that it is of one moment while a server writes to it.

The copy is made in one step, during which writers wait: made in several, it would begin again at each write.
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

from flowerml.errors import UserError
from flowerml.files import copy_file, file_digest
from flowerml.tracking.backup.database import DumpContents, FolderMove, check_rows, read_contents
from flowerml.tracking.backup.locations import move_locations

_BUSY_S = 60.0  # how long a writer's transaction is waited for
_BESIDE = ("-wal", "-journal", "-shm")  # SQLite would apply what is in them to any file of that name


class SqliteDatabase:
    """The SQLite file of a store."""

    kind = "sqlite"

    def __init__(self, file: Path) -> None:
        self._file = file

    def dump(self, target: Path) -> DumpContents:
        """See `Database`."""
        dump_file(f"--store sqlite:///{self._file}", self._file, target)
        with _connection(target) as connection:
            return read_contents(connection, f"sqlite:///{self._file}")

    def check_empty(self) -> None:
        """See `Database`."""
        check_new_file(f"--store sqlite:///{self._file}", self._file)

    def restore(self, dump: Path, rows: Mapping[str, int], move: FolderMove | None) -> int:
        """See `Database`."""
        check_sound("the backup", dump)
        with _connection(dump) as connection:
            moved = 0 if move is None else move_locations(connection, move.old, move.new)
            connection.commit()
            check_rows(connection, rows, f"sqlite:///{self._file}")
        self.check_empty()  # as it was some time ago
        try:
            copy_file(dump, self._file)
            if file_digest(self._file) != file_digest(dump):
                raise UserError(f"{self._file} has other bytes than were written: check the disk")
        except BaseException:  # a stop too
            self._file.unlink(missing_ok=True)
            raise
        return moved


def dump_file(flag: str, file: Path, target: Path) -> None:
    """Write what is in the SQLite file `file`, which was given with `flag`, to the new file `target`.

    Raises:
        UserError: there is no such file, it is no database or damaged, or the disk of `target` is full.
    """
    if not file.is_file():
        raise UserError(f"{flag}: no such file. Name the database of the server")
    try:
        with (
            closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", timeout=_BUSY_S, uri=True)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, whatever the source's is
    except sqlite3.Error as error:
        raise UserError(f"{flag} can't be read as a SQLite database ({error}): name another, or mend it") from error
    check_sound(flag, target)


def check_sound(what: str, file: Path) -> None:
    """Raise UserError if a SQLite file is damaged."""
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            ((answer,), *_) = connection.execute("PRAGMA integrity_check(1)").fetchall()
    except sqlite3.Error as error:
        answer = str(error)
    if answer != "ok":
        raise UserError(f"{what}: the database is damaged ({answer}). Restore an earlier backup, or mend it")


def check_new_file(flag: str, file: Path) -> None:
    """Raise UserError unless the SQLite file `file`, given with `flag`, is to be made: it is absent or has no bytes."""
    for path in (file, *(file.with_name(file.name + suffix) for suffix in _BESIDE)):
        if os.path.lexists(path) and not (path == file and path.is_file() and path.stat().st_size == 0):
            raise UserError(
                f"{flag} is not empty ({path} is there): stop its server and move that file away, or name a new one"
            )


@contextmanager
def _connection(file: Path) -> Iterator[Connection]:
    engine = create_engine(f"sqlite:///{file}", poolclass=NullPool)
    with engine.connect() as connection:
        yield connection
