"""Searches in the tables of a database store: what the client does run by run, in one query for all of them.

MLflow's client makes objects of all that a run has (75 of them: 3.5 ms), and can't list the values of a tag. The
filters are the same texts, read by MLflow's own parser.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from mlflow.store.db.utils import create_sqlalchemy_engine
from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlParam, SqlRun, SqlTag
from mlflow.utils.search_utils import SearchUtils
from sqlalchemy import ColumnElement, Connection, and_, case, func, select
from sqlalchemy.orm import aliased

from flowerml.tracking.search.filters import Digests
from flowerml.tracking.search.run_search import FoundRun, own_tags

_AT_ONCE = 500  # run ids in a query: databases bound the number of its values


class DatabaseSearch:
    """As `RunSearch`, of the store at `address`, in experiments that the client has listed."""

    def __init__(self, address: str, experiments: Sequence[str]) -> None:
        """Raises what SQLAlchemy and the drivers raise, as all methods do."""
        self._experiments = [int(experiment) for experiment in experiments]
        self._engine = create_sqlalchemy_engine(address)

    def digests(self, condition: str) -> Iterator[Digests]:
        """As `RunSearch`, all in one query."""
        data, split = aliased(SqlTag), aliased(SqlTag)
        newest = func.max(SqlRun.start_time)
        query = (
            select(data.value, split.value, newest)
            .select_from(SqlRun)
            .join(data, and_(data.run_uuid == SqlRun.run_uuid, data.key == "flowerml.data_digest", data.value != ""))
            .join(split, and_(split.run_uuid == SqlRun.run_uuid, split.key == "flowerml.split_digest"))
            .where(split.value != "", *self._clauses(condition))
            .group_by(data.value, split.value)
        )
        with self._engine.connect() as connection:
            found = [(row[0], row[1], row[2] or 0) for row in connection.execute(query)]
        newest_of: dict[str, int] = {}
        for _, split_digest, started in found:
            newest_of[split_digest] = max(started, newest_of.get(split_digest, 0))
        found.sort(key=lambda row: (-newest_of[row[1]], row[1], -row[2], row[0]))
        yield from ((data_digest, split_digest) for data_digest, split_digest, _ in found)

    def runs(self, condition: str, limit: int | None, *, params: bool) -> list[FoundRun]:
        """As `RunSearch`: one query for the runs, and one for each kind of what they have."""
        columns = (SqlRun.run_uuid, SqlRun.name, SqlRun.status, SqlRun.start_time, SqlRun.artifact_uri)
        without_time = case((SqlRun.start_time.is_(None), 1), else_=0)
        query = (
            select(*columns)
            .where(*self._clauses(condition))
            .order_by(without_time, SqlRun.start_time, SqlRun.run_uuid)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
            ids = [row[0] for row in rows]
            tags = _values(connection, ids, SqlTag, SqlTag.key.like("flowerml.%"))
            metrics = _values(connection, ids, SqlLatestMetric, SqlLatestMetric.key.like("best%"))
            given = _values(connection, ids, SqlParam) if params else {}
        return [
            FoundRun(
                run_id,
                name or "",
                status,
                started or 0,
                artifact_uri,
                own_tags(tags.get(run_id, {})),
                metrics.get(run_id, {}),
                given.get(run_id, {}),
            )
            for run_id, name, status, started, artifact_uri in rows
        ]

    def close(self) -> None:
        """Close connections."""
        self._engine.dispose()

    def _clauses(self, condition: str) -> list[ColumnElement[bool]]:
        """What MLflow makes of a filter, for tags and attributes."""
        dialect = self._engine.dialect.name
        clauses = [SqlRun.experiment_id.in_(self._experiments), SqlRun.lifecycle_stage == "active"]
        for part in SearchUtils.parse_search_filter(condition):
            compare = SearchUtils.get_sql_comparison_func(part["comparator"].upper(), dialect)
            if part["type"] == "attribute":
                clauses.append(compare(getattr(SqlRun, SqlRun.get_attribute_name(part["key"])), part["value"]))
            else:
                assert part["type"] == "tag", part
                own = SqlTag.run_uuid == SqlRun.run_uuid
                found = select(SqlTag.run_uuid).where(
                    own, SqlTag.key == part["key"], compare(SqlTag.value, part["value"])
                )
                clauses.append(found.correlate(SqlRun).exists())
        return clauses


def _values(
    connection: Connection,
    run_ids: Sequence[str],
    table: Any,  # noqa: ANN401 - MLflow's tables have no types
    *clauses: ColumnElement[bool],
) -> dict[str, dict[str, Any]]:
    """What the runs have in a table of keys and values, by run id."""
    columns = [table.run_uuid, table.key, table.value]
    if table is SqlLatestMetric:
        columns.append(table.is_nan)
    found: dict[str, dict[str, Any]] = {}
    for begin in range(0, len(run_ids), _AT_ONCE):
        query = select(*columns).where(table.run_uuid.in_(run_ids[begin : begin + _AT_ONCE]), *clauses)
        for run_id, key, value, *is_nan in connection.execute(query):
            found.setdefault(run_id, {})[key] = math.nan if any(is_nan) else value
    return found
