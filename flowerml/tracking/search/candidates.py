"""Candidate runs of a selection, searched by tags in all experiments, and their per-picture results.

Few runs are returned: the distinct digests are found first, and all runs are fetched for a single digest only.
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.tracking import MlflowClient, get_tracking_uri
from mlflow.utils.uri import get_uri_scheme

from flowerml.selection.candidates import several_digests, unknown_digests
from flowerml.selection.records import CandidateRun, PictureResults, Scope
from flowerml.tracking.client.connection import connect
from flowerml.tracking.client.failures import to_user_error
from flowerml.tracking.search.filters import Digests, digest_prefix_filter, digests_filter, scope_filters
from flowerml.tracking.search.predictions import fetch_predictions
from flowerml.tracking.search.run_search import ClientSearch, FoundRun, RunSearch

_MAX_COUNTED = 600  # runs to count for the list of several digests, which should be quick too
_MAX_DIGESTS = 10  # to look for: each excluded digest is a join, of which SQLite allows 64
_MAX_NAMES = 6  # runs named in one remark
_REQUIRED_TAGS = ("kind", "family", "config_id", "seed", "classes", "data_digest", "split_digest")


class TrackedRuns:
    """The runs of the current tracking store; `remarks` collects notes for the user on what was found.

    The constructor and all methods raise UserError if the tracking store can't be reached or refuses.
    """

    def __init__(self) -> None:
        self.remarks: list[str] = []
        self._artifacts: dict[str, str] = {}  # artifact addresses by run id
        try:
            self._client = connect()
            self._experiments = self._all_experiments()
        except Exception as error:  # MLflow, SQLAlchemy and requests each raise their own
            raise to_user_error(error) from error

    def find(self, scope: Scope) -> list[CandidateRun]:
        """The runs in `scope`, all of one data and split digest, oldest first; empty if there are none.

        A digest without any FINISHED run (a failed try on a wrong folder) is ignored if another one has some.

        Raises:
            UserError: several digests, or none that match those of `scope`; they are listed with counts.
        """
        try:
            with _gc_paused(), closing(make_search(self._client, self._experiments)) as search:
                return self._find(search, scope)
        except Exception as error:  # as above
            raise to_user_error(error) from error

    def pictures(self, runs: Sequence[CandidateRun]) -> dict[str, PictureResults]:
        """Per-picture results by run id, of runs returned by `find`; a run without them is left out, with a remark."""
        results = fetch_predictions({run.run_id: self._artifacts[run.run_id] for run in runs})
        without: dict[str, list[str]] = {}
        for run in runs:
            if isinstance(result := results[run.run_id], str):
                without.setdefault(result, []).append(f"{run.run_name} ({run.run_id[:8]})")
        for reason, names in without.items():
            several = f"{len(names)} runs have" if len(names) > 1 else "a run has"
            others = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
            self.remarks.append(f"{several} no per-picture results: {reason}: {', '.join(names[:_MAX_NAMES])}{others}")
        return {run_id: result for run_id, result in results.items() if isinstance(result, PictureResults)}

    def _find(self, search: RunSearch, scope: Scope) -> list[CandidateRun]:
        filters = scope_filters(scope)
        prefix = digest_prefix_filter(scope)
        named = [f"{condition} AND {prefix}" if prefix else condition for condition in filters]
        finished = [f"{condition} AND attributes.status = 'FINISHED'" for condition in named]
        digests = _distinct_digests(search, finished) or _distinct_digests(search, named)
        if len(digests) == 1:
            return self._candidates(search, filters, digests[0])
        if digests:
            limit = _MAX_COUNTED // len(digests)
            raise several_digests(self._sample(search, filters, digests, limit + 1), counted=limit, listed=_MAX_DIGESTS)
        if named != filters and (others := _distinct_digests(search, filters)):
            limit = _MAX_COUNTED // len(others)
            raise unknown_digests(
                self._sample(search, filters, others, limit + 1), scope, counted=limit, listed=_MAX_DIGESTS
            )
        return []

    def _sample(
        self, search: RunSearch, filters: Sequence[str], digests: Sequence[Digests], limit: int
    ) -> list[CandidateRun]:
        """Up to `limit` runs of each pair of digests, to be counted."""
        return [run for pair in digests for run in self._candidates(search, filters, pair, limit)]

    def _candidates(
        self, search: RunSearch, filters: Sequence[str], digests: Digests, limit: int | None = None
    ) -> list[CandidateRun]:
        """The first `limit` runs of a pair of digests that meet any of `filters`, oldest first."""
        found: dict[str, FoundRun] = {}
        for condition in filters:
            left = None if limit is None else limit - len(found)
            if left == 0:
                break
            of_digests = f"{condition} AND {digests_filter(digests)}"
            found |= {run.run_id: run for run in search.runs(of_digests, left, params=limit is None)}
        ordered = sorted(found.values(), key=lambda run: (run.started, run.run_id))
        return [record for run in ordered if (record := self._to_candidate(run)) is not None]

    def _to_candidate(self, run: FoundRun) -> CandidateRun | None:
        """The run as a record; None, with a remark, if it lacks tags of a training run."""
        tags = run.tags
        missing, seed = [name for name in _REQUIRED_TAGS if not tags.get(name)], _parse_integer(tags.get("seed"))
        if missing or seed is None:
            problem = f"has no tag flowerml.{missing[0]}" if missing else f"has flowerml.seed {tags['seed']!r}"
            self.remarks.append(f"run {run.run_name} ({run.run_id[:8]}) {problem}: it is not looked at")
            return None
        self._artifacts[run.run_id] = run.artifact_uri
        metrics = run.metrics
        best_epoch, total = metrics.get("best_epoch"), _parse_integer(tags.get("val_total"))
        record = CandidateRun(
            run_id=run.run_id,
            run_name=run.run_name or run.run_id[:8],
            config_id=tags["config_id"],
            seed=seed,
            status=run.status,
            kind=tags["kind"],
            family=tags["family"],
            classes=len(tags["classes"].split(",")),
            data_digest=tags["data_digest"],
            split_digest=tags["split_digest"],
            started=run.started,
            accuracy=metrics.get("best_val_accuracy"),
            macro_f1=metrics.get("best_val_macro_f1"),
            mean_recall=metrics.get("best_val_mean_recall"),
            best_epoch=None if best_epoch is None else round(best_epoch),
            model=tags.get("model") or run.params.get("model", ""),
            campaign=tags.get("campaign"),
            phase=tags.get("phase"),
            plan_order=_parse_integer(tags.get("plan_order")),
            parameters=_parse_integer(tags.get("parameters")),
            cost=_parse_integer(tags.get("multiply_adds")),
            params=run.params,
            pruned="pruned" in tags,
            fold=_parse_integer(tags.get("fold")),
            folds=_parse_integer(tags.get("folds")),
        )
        return record.with_hits(total) if total else record

    def _all_experiments(self) -> list[str]:
        found: list[str] = []
        token = None
        while True:
            page = self._client.search_experiments(max_results=1000, page_token=token)
            found += [experiment.experiment_id for experiment in page]
            token = page.token
            if not token:
                return found


def make_search(client: MlflowClient, experiments: Sequence[str]) -> RunSearch:
    """In the tables where the store is a database, or over the client. Raises what SQLAlchemy and the drivers raise."""
    address = get_tracking_uri()
    if get_uri_scheme(address) in DATABASE_ENGINES:
        from flowerml.tracking.search.database_search import DatabaseSearch  # it imports MLflow's tables: not for HTTP

        return DatabaseSearch(address, experiments)
    return ClientSearch(client, experiments)


def _distinct_digests(search: RunSearch, filters: Sequence[str]) -> list[Digests]:
    """The distinct (data, split) digests of the runs that meet any of `filters`; `_MAX_DIGESTS` + 1 at most."""
    found: list[Digests] = []
    for condition in filters:
        for pair in search.digests(condition):
            if pair not in found:
                found.append(pair)
            if len(found) > _MAX_DIGESTS:
                return found
    return found


@contextmanager
def _gc_paused() -> Iterator[None]:
    """Disable garbage collection: 200 runs are 16,000 SQLAlchemy objects, and a collection would run every 700."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _parse_integer(text: str | None) -> int | None:
    """Parse an integer; None for anything else."""
    return int(text) if text is not None and text.isascii() and text.removeprefix("-").isdigit() else None
