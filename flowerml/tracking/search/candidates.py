"""Candidate runs of a selection, searched by tags in all experiments, and their per-picture results.

A returned run costs the server 3.5 ms, mostly for params that are not needed, so few runs are returned: distinct
digests are found with one run each (the newest, then the newest with none of the digests seen so far, until there is
none), and all runs are fetched for a single digest only.
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mlflow.entities import Run

from flowerml.selection.candidates import several_digests, unknown_digests
from flowerml.selection.records import CandidateRun, PictureResults, Scope
from flowerml.tracking.client.connection import connect
from flowerml.tracking.client.failures import to_user_error
from flowerml.tracking.search.filters import (
    Digests,
    digest_prefix_filter,
    digests_filter,
    scope_filters,
    tag_equals,
    tag_exists,
)
from flowerml.tracking.search.predictions import fetch_predictions

_PAGE = 500
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
            with _gc_paused():
                return self._find(scope)
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

    def _find(self, scope: Scope) -> list[CandidateRun]:
        filters = scope_filters(scope)
        prefix = digest_prefix_filter(scope)
        named = [f"{condition} AND {prefix}" if prefix else condition for condition in filters]
        finished = [f"{condition} AND attributes.status = 'FINISHED'" for condition in named]
        digests = self._digests(finished) or self._digests(named)
        if len(digests) == 1:
            return self._search([f"{condition} AND {digests_filter(digests[0])}" for condition in filters])
        if digests:
            limit = _MAX_COUNTED // len(digests)
            raise several_digests(self._sample(filters, digests, limit + 1), counted=limit, listed=_MAX_DIGESTS)
        if named != filters and (others := self._digests(filters)):
            limit = _MAX_COUNTED // len(others)
            raise unknown_digests(self._sample(filters, others, limit + 1), scope, counted=limit, listed=_MAX_DIGESTS)
        return []

    def _digests(self, filters: Sequence[str]) -> list[Digests]:
        """The distinct (data, split) digests of the runs that meet any of `filters`; `_MAX_DIGESTS` + 1 at most."""
        found: list[Digests] = []
        for condition in filters:
            for split in self._values(condition, "split_digest"):
                within = f"{condition} AND {tag_equals('split_digest', split)}"
                found += [(data, split) for data in self._values(within, "data_digest") if (data, split) not in found]
                if len(found) > _MAX_DIGESTS:
                    return found[: _MAX_DIGESTS + 1]
        return found

    def _values(self, condition: str, tag: str) -> Iterator[str]:
        """The distinct values of a tag, newest run first: one small query per value, and one more."""
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

    def _sample(self, filters: Sequence[str], digests: Sequence[Digests], limit: int) -> list[CandidateRun]:
        """Up to `limit` runs of each pair of digests."""
        return [
            run
            for pair in digests
            for run in self._search([f"{condition} AND {digests_filter(pair)}" for condition in filters], limit)
        ]

    def _search(self, filters: Sequence[str], limit: int | None = None) -> list[CandidateRun]:
        """The first `limit` runs that meet any of `filters`, oldest first."""
        found: dict[str, Run] = {}
        for condition in filters:
            token = None
            while limit is None or len(found) < limit:
                size = _PAGE if limit is None else min(_PAGE, limit - len(found))
                # Oldest first: a run that starts meanwhile is on the last page, and shifts no other.
                page = self._client.search_runs(
                    self._experiments,
                    condition,
                    max_results=size,
                    order_by=["attributes.start_time ASC"],
                    page_token=token,
                )
                found |= {run.info.run_id: run for run in page}
                token = page.token
                if not token:
                    break
        ordered = sorted(found.values(), key=lambda run: (run.info.start_time or 0, run.info.run_id))
        return [record for run in ordered if (record := self._to_candidate(run)) is not None]

    def _to_candidate(self, run: Run) -> CandidateRun | None:
        """The run as a record; None, with a remark, if it lacks tags of a training run."""
        tags = {
            name.removeprefix("flowerml."): text for name, text in run.data.tags.items() if name.startswith("flowerml.")
        }
        missing, seed = [name for name in _REQUIRED_TAGS if not tags.get(name)], _parse_integer(tags.get("seed"))
        if missing or seed is None:
            problem = f"has no tag flowerml.{missing[0]}" if missing else f"has flowerml.seed {tags['seed']!r}"
            self.remarks.append(f"run {run.info.run_name} ({run.info.run_id[:8]}) {problem}: it is not looked at")
            return None
        self._artifacts[run.info.run_id] = run.info.artifact_uri
        metrics = run.data.metrics
        best_epoch, total = metrics.get("best_epoch"), _parse_integer(tags.get("val_total"))
        record = CandidateRun(
            run_id=run.info.run_id,
            run_name=run.info.run_name or run.info.run_id[:8],
            config_id=tags["config_id"],
            seed=seed,
            status=run.info.status,
            kind=tags["kind"],
            family=tags["family"],
            classes=len(tags["classes"].split(",")),
            data_digest=tags["data_digest"],
            split_digest=tags["split_digest"],
            started=run.info.start_time or 0,
            accuracy=metrics.get("best_val_accuracy"),
            macro_f1=metrics.get("best_val_macro_f1"),
            mean_recall=metrics.get("best_val_mean_recall"),
            best_epoch=None if best_epoch is None else round(best_epoch),
            model=tags.get("model") or run.data.params.get("model", ""),
            campaign=tags.get("campaign"),
            phase=tags.get("phase"),
            plan_order=_parse_integer(tags.get("plan_order")),
            parameters=_parse_integer(tags.get("parameters")),
            cost=_parse_integer(tags.get("multiply_adds")),
            params=run.data.params,
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
