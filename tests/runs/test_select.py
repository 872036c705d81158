"""A selection from a source of runs: found once, ranked once, fetched once."""

from flowerml.runs.select import select_configuration
from flowerml.selection.records import CandidateRun, PictureResults, Scope
from tests.selection.samples import SEEDS, drawn


class CountingScope(Scope):
    """Counts how often each run is held against the scope."""

    def includes(self, run: CandidateRun) -> bool:
        asked_of.append(run.run_id)
        return super().includes(run)


asked_of: list[str] = []


class Fixed:
    """A source of given runs."""

    remarks = ("two runs were left out",)

    def __init__(self, runs: list[CandidateRun], fetched: dict[str, PictureResults]) -> None:
        self.runs, self.fetched = runs, fetched
        self.calls: list[str] = []

    def find(self, scope: Scope) -> list[CandidateRun]:
        self.calls.append("find")
        return self.runs

    def pictures(self, runs: list[CandidateRun]) -> dict[str, PictureResults]:
        self.calls.append("pictures")
        return {run.run_id: self.fetched[run.run_id] for run in runs}


def test_a_selection_gathers_once_and_fetches_once():
    runs, fetched = drawn({"a": 0.95, "b": 0.9}, pictures=200)
    source = Fixed(runs, fetched)
    asked_of.clear()
    decision = select_configuration(CountingScope(seeds=SEEDS), source)
    assert source.calls == ["find", "pictures"]
    assert sorted(asked_of) == sorted(run.run_id for run in runs)
    assert decision.comparison is not None
    assert decision.remarks == ("two runs were left out",)
