"""States of a campaign's runs: from their folders and, for runs of other hosts, from the tracking server."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flowerml.campaign.plan.model import PhaseKind, Plan, PlanRun
from flowerml.campaign.state.ledger import Ledger
from flowerml.campaign.state.scheduler import RunState
from flowerml.campaign.status import Epoch, RunStatus
from flowerml.errors import UserError
from flowerml.events import Metrics, Tags
from flowerml.journal import DamagedLine, Journal, find_journals, has_undelivered
from flowerml.runs.lifecycle.attempts import lease_owner
from flowerml.runs.lifecycle.run_file import read_run_file
from flowerml.runs.lifecycle.run_owner import foreign_owner
from flowerml.tracking.search.campaigns import ServerRun

ZERO_SHOT = "zero_shot_accuracy"  # as `flowerml.runs.text_head` records it: importing that takes seconds
_COUNTS = ("flowerml.val_hits", "flowerml.val_total")


@dataclass(frozen=True)
class RunLocations:
    """The folders of a campaign's runs, its ledger, and what the server knew of the runs when the campaign began.

    `settled` caches the runs whose journals are completely delivered.
    """

    root: Path
    ledger: Ledger
    known: Mapping[str, ServerRun]
    settled: set[str] = field(default_factory=set)

    def folder(self, name: str) -> Path:
        """The folder of a run."""
        return self.root / name

    def known_run(self, name: str) -> ServerRun | None:
        """What the server knew of a run, None for one whose place another takes by now."""
        known = self.known.get(name)
        return None if known is None or known.run_id in self.ledger.notes_of(name).superseded else known


def run_states(plan: Plan, locations: RunLocations, running: Mapping[str, object]) -> dict[str, RunState]:
    """The state of every run; `running` are those that this process has started and that have not ended."""
    return {run.name: _run_state(run, plan.phase(run.phase).kind, locations, running) for run in plan.runs}


def _run_state(run: PlanRun, kind: PhaseKind, locations: RunLocations, running: Mapping[str, object]) -> RunState:
    folder, notes = locations.folder(run.name), locations.ledger.notes_of(run.name)
    if run.name in running:
        return RunState(RunStatus.RUNNING, notes.failures)
    owner = lease_owner(folder)
    if owner is not None and not owner.expired:
        return RunState(RunStatus.RUNNING, notes.failures)
    run_file, known = read_run_file(folder), locations.known_run(run.name)
    if known is not None and known.status == "FINISHED" and (run_file is None or run_file.status != "FINISHED"):
        return RunState(RunStatus.FINISHED, notes.failures, delivered=True)  # it ran on another host
    if run_file is None:
        return RunState(RunStatus.FAILED if notes.failures else RunStatus.TODO, notes.failures, delivered=True)
    delivered = _is_delivered(run.name, locations)
    if run_file.status == "FINISHED" and (kind is not PhaseKind.SMOKE or smoke_completed(folder)):
        return RunState(RunStatus.FINISHED, notes.failures, delivered)
    # What failed without the runner hearing of it (it was killed meanwhile) is tried again without being counted.
    return RunState(RunStatus.FAILED if notes.failures else RunStatus.INTERRUPTED, notes.failures, delivered)


def smoke_completed(folder: Path) -> bool:
    """Whether the checkpoint of a smoke test has been evaluated too."""
    return (folder / "eval_val" / "errors.html").is_file()  # the evaluation's last file


def _is_delivered(name: str, locations: RunLocations) -> bool:
    """Whether the journal of a run without an owner has its end, and the server has all of it."""
    if name not in locations.settled:
        found = find_journals(locations.folder(name))
        if found and not any(has_undelivered(journal) for journal in found) and Journal(found[-1]).ended is not None:
            locations.settled.add(name)
    return name in locations.settled


def check_ownership(plan: Plan, locations: RunLocations, campaign: str) -> None:
    """Check that the runs in the folders are this campaign's.

    Raises:
        UserError: a folder holds a run of another campaign, or of none.
    """
    for run in plan.runs:
        folder = locations.folder(run.name)
        owner = foreign_owner(folder, campaign)
        if owner is not None:
            of = f"campaign {owner}" if owner else "no campaign"
            raise UserError(f"{folder} holds a run of {of}: choose another --runs-root for campaign {campaign}")


def read_history(folder: Path) -> tuple[Epoch, ...]:
    """The epochs of a run so far; empty where its history can't be read."""
    try:
        with (folder / "history.csv").open(newline="") as handle:
            rows = list(csv.DictReader(handle))
        return tuple(
            Epoch(int(row["epoch"]), {name: float(text) for name, text in row.items() if name != "epoch" and text})
            for row in rows
        )
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def read_final_metrics(folder: Path) -> dict[str, float]:
    """Final metrics of a finished run from its journal: best_epoch, best_val_accuracy, …, val_hits, val_total.

    And `ZERO_SHOT`, where it was measured.
    """
    try:
        found = find_journals(folder)
        journal = Journal(found[-1]) if found else None
    except OSError:
        return {}
    figures: dict[str, float] = {}
    for entry in journal.records() if journal is not None else ():
        if isinstance(entry, DamagedLine):
            continue
        if isinstance(entry.record, Metrics):
            values = entry.record.values.items()
            figures |= {name: value for name, value in values if name.startswith("best_") or name == ZERO_SHOT}
        if isinstance(entry.record, Tags):
            counts = {
                name.removeprefix("flowerml."): text for name, text in entry.record.values.items() if name in _COUNTS
            }
            figures |= {name: float(text) for name, text in counts.items()}
    return figures


def read_log_tail(log: Path, count: int = 12) -> list[str]:
    """The last lines of a log; empty where it can't be read."""
    try:
        return log.read_text("utf-8", "replace").rstrip().splitlines()[-count:]
    except OSError:
        return []
