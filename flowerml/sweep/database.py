"""What a `--storage` address leads to, looked at before anything is written: somebody else's database is refused."""

import re
from pathlib import Path

from sqlalchemy import Engine, inspect
from sqlalchemy.engine import URL

from flowerml.errors import UserError

_SQLITE_HEADER = b"SQLite format 3\0"
_OPTUNA_MARK = {"version_info", "studies", "trials"}
_OPTUNA_TABLE = re.compile(r"studies|trials|version_info|(study|trial)_\w+|alembic_version")
_SHOWN_TABLES = 3


def check_sqlite_file(url: URL) -> None:
    """Check, without opening it, that an SQLite address names a database, or a file that can be created.

    Raises:
        UserError: it is in memory, a folder, in no folder, or a file of another kind.
    """
    if url.get_backend_name() != "sqlite":
        return
    name = url.database or ""
    if name in ("", ":memory:") or "mode=memory" in name:
        raise UserError(
            "--storage is a database in memory, which the workers can't share. Allowed: sqlite:///FILE.db,"
            " postgresql+psycopg2://…"
        )
    if name.startswith("file:"):
        return
    path = Path(name)
    if path.is_dir():
        raise UserError(f"--storage {path}: it is a folder. Name a file in it: sqlite:///{path / 'sweeps.db'}")
    if not path.parent.is_dir():
        raise UserError(f"--storage {path}: no such folder: {path.parent}. Create it, or name another one")
    try:
        with path.open("rb") as handle:
            head = handle.read(len(_SQLITE_HEADER))
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"--storage {path}: can't be read ({error.strerror}). Name another one") from error
    if head and head != _SQLITE_HEADER:
        raise UserError(f"--storage {path}: it is no SQLite database, and is left as it is. Name another file")


def is_optuna_database(engine: Engine, name: str) -> bool:
    """Whether a database has Optuna's tables; False for an empty one, or one whose tables are just being created.

    Raises:
        UserError: it is another program's (`name`: what to call it).
        SQLAlchemyError: it is unreachable.
    """
    tables = set(inspect(engine).get_table_names())
    if tables >= _OPTUNA_MARK and "study_name" in {column["name"] for column in inspect(engine).get_columns("studies")}:
        return True
    if foreign := sorted(table for table in tables if tables >= _OPTUNA_MARK or not _OPTUNA_TABLE.fullmatch(table)):
        shown = ", ".join(foreign[:_SHOWN_TABLES])
        raise UserError(
            f"--storage {name} is another program's database (tables {shown}{' …' * (len(foreign) > _SHOWN_TABLES)}):"
            " nothing is written into it. Name a new one"
        )
    return False
