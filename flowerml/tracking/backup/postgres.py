"""A Postgres database: dumped and restored by PostgreSQL's own `pg_dump` and `pg_restore`, in their custom format.

They get the password in their environment, as others can read the list of processes. `pg_restore` speaks to the server
by itself: a script for `psql` could hold commands for this machine's shell.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, create_engine, text
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

from flowerml.errors import UserError
from flowerml.redaction import redact_secrets
from flowerml.tracking.backup.database import DumpContents, FolderMove, check_rows, read_contents
from flowerml.tracking.backup.locations import move_locations
from flowerml.tracking.client.failures import to_user_error

# Tables, partitions, views, sequences of the database itself.
_CATALOG = text(
    "SELECT format('%I.%I', n.nspname, c.relname), c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid ="
    " c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND n.nspname NOT IN ('pg_catalog',"
    " 'information_schema') AND n.nspname NOT LIKE 'pg\\_%' ORDER BY 1"
)
_DROP = {"r": "TABLE", "p": "TABLE", "v": "VIEW", "m": "MATERIALIZED VIEW", "S": "SEQUENCE"}


class PostgresDatabase:
    """The Postgres database of a store, by its address."""

    kind = "postgresql"

    def __init__(self, address: URL) -> None:
        self._address = address
        self._name = redact_secrets(address.render_as_string(hide_password=False))

    def dump(self, target: Path) -> DumpContents:
        """See `Database`. The rows are counted in the very snapshot that is dumped."""
        with self._connection() as connection:
            connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            contents = read_contents(connection, self._name)
            snapshot = connection.execute(text("SELECT pg_export_snapshot()")).scalar_one()
            options = ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}"]
            self._run("pg_dump", *options, f"--file={target}")
        return contents

    def check_empty(self) -> None:
        """See `Database`."""
        with self._connection() as connection:
            found = connection.execute(_CATALOG).first()
        if found is not None:
            raise UserError(
                f"--store {self._name} is not empty (it has {found[0]}): stop its server and name a new database"
                " (createdb), or drop this one and create it again"
            )
        _program("pg_restore")

    def restore(self, dump: Path, rows: Mapping[str, int], move: FolderMove | None) -> int:
        """See `Database`."""
        self.check_empty()
        options = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"]
        self._run("pg_restore", *options, str(dump))
        try:
            with self._connection() as connection:
                moved = 0 if move is None else move_locations(connection, move.old, move.new)
                check_rows(connection, rows, self._name)
                connection.commit()
        except BaseException:
            self._drop_all()
            raise
        return moved

    def _drop_all(self) -> None:
        """Drop all that is in the database: it was empty before the restore."""
        with self._connection() as connection:
            for name, kind in connection.execute(_CATALOG).all():
                connection.exec_driver_sql(f"DROP {_DROP[kind]} IF EXISTS {name.replace('%', '%%')} CASCADE")
            connection.commit()

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """A connection. Raises UserError if there is none, or for what fails in the context."""
        try:
            engine: Engine = create_engine(self._address, poolclass=NullPool)
            with engine.connect() as connection:
                yield connection
        except Exception as error:  # SQLAlchemy and the driver each raise their own
            raise to_user_error(error) from error

    def _run(self, program: str, *options: str) -> None:
        """Run one of PostgreSQL's programs with this database. Raises UserError with the first line that it prints."""
        address = self._address
        parts = {
            "host": address.host,
            "port": address.port,
            "user": address.username,
            "dbname": address.database,
            **{name: value for name, value in address.query.items() if name != "password"},
        }
        where = " ".join(f"{name}='{_escape(str(value))}'" for name, value in parts.items() if value is not None)
        password = address.password or address.query.get("password")
        environment = {**os.environ, "LC_ALL": "C", **({"PGPASSWORD": str(password)} if password else {})}
        command = [_program(program), f"--dbname={where}", "--no-password", *options]
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode != 0:
            raise UserError(_reason(program, done.stderr.decode("utf-8", "replace"), self._name))


def _escape(value: str) -> str:
    """A value as it stands in the single quotes of a connection string of PostgreSQL."""
    return value.replace("\\", "\\\\").replace("'", "\\'")


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise UserError(
            f"a Postgres store needs the program {name} of PostgreSQL's client tools, which is not on PATH: install"
            " them (Debian: apt-get install postgresql-client), of the server's version or a later one"
        )
    return found


def _reason(program: str, said: str, store: str) -> str:
    if versions := re.search(r"server version: (\d+)\S*.*; \w+ version: (\d+)", said):
        server, own = versions.groups()
        return (
            f"{program} is of PostgreSQL {own} and the server of --store {store} of {server}: put the client tools of"
            f" {server} first on PATH (Debian: apt-get install postgresql-client-{server})"
        )
    if "unsupported version" in said:
        return (
            f"{program} is older than the pg_dump that made this backup: put client tools of its version or a later one"
            " first on PATH"
        )
    lines = [line for line in said.splitlines() if "error: " in line] or said.splitlines() or ["it says nothing"]
    return f"{program} failed for --store {store}: {lines[0].partition('error: ')[2] or lines[0]}"
