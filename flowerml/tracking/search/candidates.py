"""The runs to choose from, asked for by tags over all experiments, and their per-picture results.

A returned run costs the server 3.5 ms, most of it for params that nobody asked for, so what is returned is kept small:
which digests there are is found with one run each (the newest, then the newest that has none of the digests seen so
far, until there is none), and all runs are fetched of one digest only.
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mlflow.entities import Run

from flowerml.selection.candidates import several_digests, unknown_digests
from flowerml.selection.records import CandidateRun, PictureResults, Scope
from flowerml.tracking.client.connection import connect
from flowerml.tracking.client.errors import to_user_error
from flowerml.tracking.search.filters import Digests, conditions, equals, has, named, of_digests
from flowerml.tracking.search.predictions import fetch_predictions

_PAGE = 500
_COUNTED = (
    600  # runs that are counted at most, of all digests together, where several are listed: that is to be quick too
)
_LISTED = 10  # digests that are looked for; a join of SQLite takes 64 tables, and each digest that is left out is one
_NAMED = 6  # runs in one remark
_NEEDED = ("kind", "family", "config_id", "seed", "classes", "data_digest", "split_digest")


class TrackedRuns:
    """The runs of the tracking store that is set. `remarks` collects what people should know of what was found.

    Raises:
        UserError: the tracking store can't be reached or refuses; so do the methods.
    """

    def __init__(self) -> None:
        self.remarks: list[str] = []
        self._artifacts: dict[str, str] = {}  # by run_id: where its files are
        try:
            self._client = connect()
            self._experiments = self._all_experiments()
        except Exception as error:  # MLflow, SQLAlchemy and requests each raise their own
            raise to_user_error(error) from error

    def find(self, scope: Scope) -> list[CandidateRun]:
        """The runs, oldest first, of the one data and split digest that `scope` means; none where nothing is in the
        scope.

        A digest of which nothing is FINISHED (a first try on a wrong folder) is no rival of one.

        Raises:
            UserError: several digests, or none of those named; listed with counts.
        """
        try:
            with _collecting_later():
                return self._find(scope)
        except Exception as error:  # as above
            raise to_user_error(error) from error

    def pictures(self, runs: Sequence[CandidateRun]) -> dict[str, PictureResults]:
        """By run_id what each run that `find` gave got right. A run without a usable `predictions.csv` is left out,
        with a remark.
        """
        answers = fetch_predictions({run.run_id: self._artifacts[run.run_id] for run in runs})
        without: dict[str, list[str]] = {}
        for run in runs:
            if isinstance(answer := answers[run.run_id], str):
                without.setdefault(answer, []).append(f"{run.run_name} ({run.run_id[:8]})")
        for reason, names in without.items():
            several = f"{len(names)} runs have" if len(names) > 1 else "a run has"
            others = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            self.remarks.append(f"{several} no per-picture results: {reason}: {', '.join(names[:_NAMED])}{others}")
        return {run_id: answer for run_id, answer in answers.items() if isinstance(answer, PictureResults)}

    def _find(self, scope: Scope) -> list[CandidateRun]:
        asked = conditions(scope)
        of_named = [f"{one} AND {part}" if (part := named(scope)) else one for one in asked]
        digests = self._digests([f"{one} AND attributes.status = 'FINISHED'" for one in of_named]) or self._digests(
            of_named
        )
        if len(digests) == 1:
            return self._records([f"{one} AND {of_digests(digests[0])}" for one in asked])
        if digests:
            each = _COUNTED // len(digests)
            raise several_digests(self._some(asked, digests, each + 1), counted=each, listed=_LISTED)
        if of_named != asked and (others := self._digests(asked)):
            each = _COUNTED // len(others)
            raise unknown_digests(self._some(asked, others, each + 1), scope, counted=each, listed=_LISTED)
        return []

    def _digests(self, filters: Sequence[str]) -> list[Digests]:
        """The different pairs of data and split digest of the runs that any of `filters` holds, at most `_LISTED` and
        one.
        """
        found: list[Digests] = []
        for one in filters:
            for split in self._values(one, "split_digest"):
                within = f"{one} AND {equals('split_digest', split)}"
                found += [(data, split) for data in self._values(within, "data_digest") if (data, split) not in found]
                if len(found) > _LISTED:
                    return found[: _LISTED + 1]
        return found

    def _values(self, condition: str, tag: str) -> Iterator[str]:
        """The different values of a tag, newest run first: one small question for each, and one more."""
        seen: list[str] = []
        while True:
            others = " AND ".join([condition, has(tag), *(equals(tag, value, "!=") for value in seen)])
            runs = self._client.search_runs(
                self._experiments, others, max_results=1, order_by=["attributes.start_time DESC"]
            )
            if not runs:
                return
            seen.append(runs[0].data.tags[f"flowerml.{tag}"])
            yield seen[-1]

    def _some(self, filters: Sequence[str], digests: Sequence[Digests], most: int) -> list[CandidateRun]:
        """Up to `most` runs of each pair of digests."""
        return [
            run for pair in digests for run in self._records([f"{one} AND {of_digests(pair)}" for one in filters], most)
        ]

    def _records(self, filters: Sequence[str], most: int | None = None) -> list[CandidateRun]:
        """The runs that any of `filters` holds, oldest first; the first `most`."""
        found: dict[str, Run] = {}
        for one in filters:
            token = None
            while most is None or len(found) < most:
                size = _PAGE if most is None else min(_PAGE, most - len(found))
                # Oldest first: a run that starts in between comes on the last page, and shifts none.
                page = self._client.search_runs(
                    self._experiments, one, max_results=size, order_by=["attributes.start_time ASC"], page_token=token
                )
                found |= {run.info.run_id: run for run in page}
                token = page.token
                if not token:
                    break
        ordered = sorted(found.values(), key=lambda run: (run.info.start_time or 0, run.info.run_id))
        return [record for run in ordered if (record := self._record(run)) is not None]

    def _record(self, run: Run) -> CandidateRun | None:
        """The run as a record; None, with a remark, where its tags are not those of a training."""
        tags = {
            name.removeprefix("flowerml."): text for name, text in run.data.tags.items() if name.startswith("flowerml.")
        }
        missing, seed = [name for name in _NEEDED if not tags.get(name)], _whole(tags.get("seed"))
        if missing or seed is None:
            problem = f"has no tag flowerml.{missing[0]}" if missing else f"has flowerml.seed {tags['seed']!r}"
            self.remarks.append(f"run {run.info.run_name} ({run.info.run_id[:8]}) {problem}: it is not looked at")
            return None
        self._artifacts[run.info.run_id] = run.info.artifact_uri
        metrics = run.data.metrics
        best_epoch, total = metrics.get("best_epoch"), _whole(tags.get("val_total"))
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
            best_epoch=None if best_epoch is None else round(best_epoch),
            model=tags.get("model") or run.data.params.get("model", ""),
            campaign=tags.get("campaign"),
            phase=tags.get("phase"),
            plan_order=_whole(tags.get("plan_order")),
            parameters=_whole(tags.get("parameters")),
            cost=_whole(tags.get("multiply_adds")),
            params=run.data.params,
            pruned="pruned" in tags,
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
def _collecting_later() -> Iterator[None]:
    """Without the garbage collector: 200 runs are 16,000 objects of SQLAlchemy, and it would look through all there is
    every 700.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _whole(text: str | None) -> int | None:
    """A whole number, None for anything else."""
    return int(text) if text is not None and text.isascii() and text.removeprefix("-").isdigit() else None
