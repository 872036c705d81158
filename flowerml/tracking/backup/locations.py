"""Where a store says that artifacts are: through the server, in a bucket, or in a local folder by its absolute path.

Addresses `mlflow-artifacts:/…` and those of buckets are good wherever the store is. Absolute paths name a folder of the
machine that the store was on; a store that is restored with its artifacts elsewhere must name the new one, or it would
read and write the old one, where there is one still.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from sqlalchemy import ColumnClause, Connection, String, column, func, inspect, literal, or_, select, table, update

_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def rows_by_table(connection: Connection) -> dict[str, int]:
    """The number of rows in each table of the database's own schema."""
    counts = {}
    for name in sorted(inspect(connection).get_table_names()):
        counts[name] = int(connection.execute(select(func.count()).select_from(table(name))).scalar_one())
    return counts


def local_folders(connection: Connection) -> frozenset[str]:
    """The absolute paths in the database's columns of artifact locations, those of `file:` addresses too."""
    found = set()
    for name, of in _columns_there(connection):
        place: ColumnClause[str | None] = column(of)
        for location in connection.execute(select(place).select_from(table(name)).distinct()).scalars():
            if location and (path := _local_path(location)):
                found.add(path)
    return frozenset(found)


def outside(root: Path | None, folders: Iterable[str]) -> tuple[str, ...]:
    """Those of `folders` that exist and are not below `root`, without those that are below another of them."""
    kept: list[str] = []
    for folder in sorted(folders):
        above = [str(root), *kept[-1:]] if root is not None else kept[-1:]
        below = any(Path(folder).is_relative_to(one) for one in above)
        if not below and Path(folder).is_dir():
            kept.append(folder)
    return tuple(kept)


def move_locations(connection: Connection, old: str, new: str) -> int:
    """Change locations below the folder `old` into the same ones below `new`; the number of rows that were changed."""
    changed = 0
    for name, of in _columns_there(connection):
        for before, after in ((old, new), (f"file://{quote(old)}", f"file://{quote(new)}")):
            place: ColumnClause[str] = column(of, String)
            below = func.substr(place, 1, len(before) + 1) == f"{before}/"
            moved = func.substr(place, len(before) + 1)
            statement = (
                update(table(name, place)).where(or_(place == before, below)).values({of: literal(after).concat(moved)})
            )
            changed += connection.execute(statement).rowcount
    return changed


def _columns_there(connection: Connection) -> list[tuple[str, str]]:
    """The columns of locations that this version of the tables has."""
    inspector = inspect(connection)
    has: Mapping[str, set[str]] = {
        name: {one["name"] for one in inspector.get_columns(name)}
        for name in {name for name, _ in _COLUMNS} & set(inspector.get_table_names())
    }
    return [(name, of) for name, of in _COLUMNS if of in has.get(name, ())]


def _local_path(location: str) -> str | None:
    if location.startswith("/"):
        return location
    parts = urlsplit(location)
    return unquote(parts.path) if parts.scheme == "file" and parts.netloc in ("", "localhost") else None
