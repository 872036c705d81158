"""A selection: candidates from the tracking server, the decision, and a run of kind `select` that records it."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from flowerml.errors import RunFailed
from flowerml.events import Artifact, Event, Metrics, Params, Recorder, Tags
from flowerml.files import write_bytes, write_json, write_text
from flowerml.optional_files import write_optional
from flowerml.reporting.figures.drawing import png_bytes
from flowerml.reporting.figures.selection_figure import selection_figure
from flowerml.runs.lifecycle.termination import finalize_status
from flowerml.selection.decision import Decision, make_decision
from flowerml.selection.rank import rank_runs
from flowerml.selection.records import CandidateRun, PictureResults, Scope
from flowerml.selection.table import decision_markdown, ranking_csv

# P(best) is over the first places only: further down a configuration hardly ever wins a resample, and each costs one
# download per seed.
COMPARED = 10
_MAX_NOTE = 60_000  # characters of the MLflow description; decision.md has all of it

OpenRun = Callable[[str], Recorder]  # the run's name
Register = Callable[[Decision, str | None], str]  # decision, selection run's id or None; what was done, in words


class CandidateSource(Protocol):
    """Where candidate runs come from."""

    @property
    def remarks(self) -> Sequence[str]:
        """What was left out so far, and why."""
        ...

    def find(self, scope: Scope) -> Sequence[CandidateRun]:
        """The runs in the scope."""
        ...

    def pictures(self, runs: Sequence[CandidateRun]) -> Mapping[str, PictureResults]:
        """Per-picture results by run_id; a run without them is left out."""
        ...


@dataclass(frozen=True)
class SelectionResult:
    """A decision, its run (None: not recorded), and what the registry did with it, in words (None: not registered)."""

    decision: Decision
    run_id: str | None
    registered: str | None


def select_configuration(scope: Scope, source: CandidateSource) -> Decision:
    """Find and rank the runs of a scope, fetch the per-picture results of the leaders, decide.

    Raises:
        UserError: no run in the scope, several digests and none named, or a server that does not answer.
    """
    ranking = rank_runs(source.find(scope), scope)
    places = COMPARED if scope.base_order is None else len(ranking.standings)  # each of them has a gain over the base
    decision = make_decision(ranking, source.pictures(ranking.leading_runs(places)))
    return replace(decision, remarks=(*decision.remarks, *source.remarks))


def record_decision(decision: Decision, open_run: OpenRun | None, register: Register | None) -> SelectionResult:
    """Record the decision in a run of its own (none if `open_run` is None), then register it if `register` is given.

    Raises:
        RunFailed: nothing was eligible, or it could not be registered; the run is FAILED and holds the table all the
            same.
    """
    if open_run is None:
        _require_winner(decision)
        return SelectionResult(decision, None, register(decision, None) if register else None)
    with _decision_files(decision) as paths:  # files first: an opened run must always be closed
        recorder = open_run(f"select {decision.scope.family or 'all'}, split {decision.split_digest[:8]}")
        with finalize_status(recorder):
            for event in (*_decision_events(decision), *map(Artifact, paths)):
                recorder.record(event)
            _require_winner(decision)
            registered = register(decision, recorder.run_id) if register else None
            if registered is not None:
                recorder.record(Tags({"flowerml.registered": registered}))
                recorder.record(Tags({"mlflow.note.content": _run_note(decision, registered)}))
    return SelectionResult(decision, recorder.run_id, registered)


def _require_winner(decision: Decision) -> None:
    if decision.winner is None:
        raise RunFailed(decision.words)


@contextmanager
def _decision_files(decision: Decision) -> Iterator[list[Path]]:
    """decision.md, decision.json and, where anything was eligible, table.csv and seeds.png; in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="flowerml-select-") as scratch:
        folder = Path(scratch)
        write_text(folder / "decision.md", decision_markdown(decision))
        write_json(folder / "decision.json", decision.as_json())
        names = ["decision.md", "decision.json"]
        if decision.standings:
            write_text(folder / "table.csv", ranking_csv(decision))
            names.append("table.csv")
            if write_optional(
                folder / "seeds.png", lambda path: write_bytes(path, png_bytes(selection_figure(decision)))
            ):
                names.append("seeds.png")
        yield [folder / name for name in names]


def _decision_events(decision: Decision) -> Iterator[Event]:
    scope, winner, comparison = decision.scope, decision.winner, decision.comparison
    tags = {
        "flowerml.family": scope.family,
        "flowerml.data_digest": decision.data_digest,
        "flowerml.split_digest": decision.split_digest,
        "flowerml.campaign": scope.campaign,
        "flowerml.decision": decision.key if winner else None,
        "flowerml.winner": winner.configuration.config_id if winner else None,
        "flowerml.chosen_run": decision.chosen.run_id if decision.chosen else None,
        "mlflow.note.content": _run_note(decision, None),
    }
    yield Tags({name: text for name, text in tags.items() if text is not None})
    params = {
        "family": scope.family,
        "seeds": ",".join(map(str, scope.seeds)),
        "kinds": ",".join(scope.kinds),
        "campaign": scope.campaign,
        "phases": ",".join(scope.phases) if scope.phases else None,
    }
    yield Params({name: text for name, text in params.items() if text is not None})
    figures: dict[str, float | None] = {"eligible": len(decision.standings), "not_eligible": len(decision.ineligible)}
    if winner is not None:
        figures |= {
            "mean_val_accuracy": winner.accuracy.mean,
            "mean_val_macro_f1": winner.macro_f1.mean,
            "p_best": winner.p_best,
        }
        figures |= {"standard_deviation": winner.accuracy.deviation}
        figures |= (
            {"interval_low": winner.interval.low, "interval_high": winner.interval.high} if winner.interval else {}
        )
    if comparison is not None:
        figures["ahead_of_runner_up"] = comparison.difference
    yield Metrics({name: float(value) for name, value in figures.items() if value is not None})


def _run_note(decision: Decision, registered: str | None) -> str:
    """The run's description."""
    outcome = f"**{registered[:1].upper()}{registered[1:]}**\n\n" if registered else ""
    return f"{outcome}{decision_markdown(decision)}"[:_MAX_NOTE]
