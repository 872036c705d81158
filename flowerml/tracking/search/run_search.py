"""Runs that meet a filter, and the digests they have, over MLflow's client: what every tracking store can do."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mlflow.tracking import MlflowClient

from flowerml.tracking.search.filters import Digests, tag_equals, tag_exists

PAGE = 500


@dataclass(frozen=True)
class FoundRun:
    """A run of a search: `tags` without the prefix `flowerml.`, and none of MLflow's; `metrics` are the last values."""

    run_id: str
    run_name: str
    status: str
    started: int
    artifact_uri: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    params: Mapping[str, str]


class RunSearch(Protocol):
    """Searches active runs of active experiments by filters of `tracking.search.filters`. Raises what MLflow raises."""

    def digests(self, condition: str) -> Iterator[Digests]:
        """The distinct pairs of (data, split) digests of runs that meet a filter, newest first."""

    def runs(self, condition: str, limit: int | None, *, params: bool) -> list[FoundRun]:
        """The first `limit` runs that meet a filter, oldest first; without `params` theirs may be left out."""

    def close(self) -> None:
        """Close connections."""


class ClientSearch:
    """Over the client. A returned run costs 3.5 ms, mostly for params, so few are returned: see `digests`."""

    def __init__(self, client: MlflowClient, experiments: Sequence[str]) -> None:
        self._client, self._experiments = client, list(experiments)

    def digests(self, condition: str) -> Iterator[Digests]:
        """As `RunSearch`: one small query per digest (the newest run with none of those before), and one more."""
        for split in self._values(condition, "split_digest"):
            within = f"{condition} AND {tag_equals('split_digest', split)}"
            yield from ((data, split) for data in self._values(within, "data_digest"))

    def _values(self, condition: str, tag: str) -> Iterator[str]:
        """The distinct values of a tag, newest run first."""
        seen: list[str] = []
        while True:
            others = " AND ".join([condition, tag_exists(tag), *(tag_equals(tag, value, "!=") for value in seen)])
            runs = self._client.search_runs(
                self._experiments, others, max_results=1, order_by=["attributes.start_time DESC"]
            )
            if not runs:
                return
            seen.append(runs[0].data.tags[f"flowerml.{tag}"])
            yield seen[-1]

    def runs(self, condition: str, limit: int | None, *, params: bool) -> list[FoundRun]:
        """As `RunSearch`."""
        found: dict[str, FoundRun] = {}
        token = None
        while limit is None or len(found) < limit:
            # Oldest first: a run that starts meanwhile is on the last page, and shifts no other.
            page = self._client.search_runs(
                self._experiments,
                condition,
                max_results=PAGE if limit is None else min(PAGE, limit - len(found)),
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            for run in page:
                found[run.info.run_id] = FoundRun(
                    run.info.run_id,
                    run.info.run_name or "",
                    run.info.status,
                    run.info.start_time or 0,
                    run.info.artifact_uri,
                    own_tags(run.data.tags),
                    run.data.metrics,
                    run.data.params,
                )
            token = page.token
            if not token:
                break
        return list(found.values())

    def close(self) -> None:
        """Nothing: the client is the caller's."""


def own_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Flowerml's tags, without their prefix."""
    return {name.removeprefix("flowerml."): text for name, text in tags.items() if name.startswith("flowerml.")}
