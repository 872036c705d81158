"""How a campaign's runs stand: by what lies in their folders and, for those that ran on another host, by what the
tracking server knows.
"""

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
from flowerml.journal import Damage, Journal, has_undelivered, journals, read_delivered
from flowerml.runs.lifecycle.lease import lease_owner
from flowerml.runs.lifecycle.run_file import read_run_file
from flowerml.tracking.search.campaigns import CAMPAIGN, KnownRun

_COUNTS = ("flowerml.val_hits", "flowerml.val_total")


@dataclass(frozen=True)
class RunLocations:
    """Where the runs of a campaign lie, what its ledger notes of them, and what the server knew of them when the runner
    began.

    `settled` are the runs whose journals are known to have been delivered to their end: looking once is enough.
    """

    root: Path
    ledger: Ledger
    known: Mapping[str, KnownRun]
    settled: set[str] = field(default_factory=set)

    def folder(self, name: str) -> Path:
        """The folder of a run."""
        return self.root / name


def run_states(plan: Plan, place: RunLocations, running: Mapping[str, object]) -> dict[str, RunState]:
    """How every run stands; `running` are those that this process has started and that have not ended."""
    return {run.name: _state(run, plan.phase(run.phase).kind, place, running) for run in plan.runs}


def _state(run: PlanRun, kind: PhaseKind, place: RunLocations, running: Mapping[str, object]) -> RunState:
    folder, notes = place.folder(run.name), place.ledger.of(run.name)
    if run.name in running:
        return RunState(RunStatus.RUNNING, notes.failures)
    who = lease_owner(folder)
    if who is not None and not who.expired:
        return RunState(RunStatus.RUNNING, notes.failures)
    here, known = read_run_file(folder), place.known.get(run.name)
    if known is not None and known.status == "FINISHED" and (here is None or here.status != "FINISHED"):
        return RunState(RunStatus.FINISHED, notes.failures, delivered=True)  # it ran on another host
    if here is None:
        return RunState(RunStatus.FAILED if notes.failures else RunStatus.TODO, notes.failures, delivered=True)
    delivered = _delivered(run.name, place)
    if here.status == "FINISHED" and (kind is not PhaseKind.SMOKE or smoke_completed(folder)):
        return RunState(RunStatus.FINISHED, notes.failures, delivered)
    # What failed without the runner hearing of it (it was killed meanwhile) is tried again without being counted.
    return RunState(RunStatus.FAILED if notes.failures else RunStatus.INTERRUPTED, notes.failures, delivered)


def smoke_completed(folder: Path) -> bool:
    """Whether the checkpoint of a smoke test has been evaluated too."""
    return (folder / "eval_val" / "errors.html").is_file()  # the evaluation's last file


def _delivered(name: str, place: RunLocations) -> bool:
    """Whether the journal of a run that nobody works on has an end, and all of it is with the server."""
    if name not in place.settled:
        found = journals(place.folder(name))
        if found and not any(has_undelivered(journal) for journal in found) and Journal(found[-1]).ended is not None:
            place.settled.add(name)
    return name in place.settled


def check_ownership(plan: Plan, place: RunLocations, campaign: str) -> None:
    """Make sure that what lies in the runs' folders is this campaign's.

    Raises:
        UserError: a folder holds a run of somebody else; says which, and what to do.
    """
    for run in plan.runs:
        folder = place.folder(run.name)
        if read_run_file(folder) is None:
            continue
        found = journals(folder)
        tags = _tags(Journal(found[-1])) if found else {}
        owner = tags.get(CAMPAIGN)
        if owner != campaign and (tags or not found):  # without any, it was cut off before it had said whose it is
            of = f"campaign {owner}" if owner else "no campaign"
            raise UserError(f"{folder} holds a run of {of}: choose another --runs-root for campaign {campaign}")


def run_id_of(folder: Path) -> str:
    """MLflow's id of the run in a folder; empty where it is not known."""
    found = journals(folder)
    here = read_run_file(folder)
    return (read_delivered(found[-1]).run_id if found else "") or (here.run_id if here else "")


def read_history(folder: Path) -> tuple[Epoch, ...]:
    """The epochs of a run so far; none where nothing can be read."""
    try:
        with (folder / "history.csv").open(newline="") as handle:
            rows = list(csv.DictReader(handle))
        return tuple(
            Epoch(int(row["epoch"]), {name: float(text) for name, text in row.items() if name != "epoch" and text})
            for row in rows
        )
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def read_figures(folder: Path) -> dict[str, float]:
    """What a finished run says of itself at its end (best_epoch, best_val_accuracy, …, val_hits, val_total); empty
    where nothing does.
    """
    try:
        found = journals(folder)
        journal = Journal(found[-1]) if found else None
    except OSError:
        return {}
    figures: dict[str, float] = {}
    for one in journal.records() if journal is not None else ():
        if isinstance(one, Damage):
            continue
        if isinstance(one.record, Metrics):
            figures |= {name: value for name, value in one.record.values.items() if name.startswith("best_")}
        if isinstance(one.record, Tags):
            counts = {
                name.removeprefix("flowerml."): text for name, text in one.record.values.items() if name in _COUNTS
            }
            figures |= {name: float(text) for name, text in counts.items()}
    return figures


def last_lines(log: Path, count: int = 12) -> list[str]:
    """The last lines of a run's log."""
    try:
        return log.read_text("utf-8", "replace").rstrip().splitlines()[-count:]
    except OSError:
        return []


def _tags(journal: Journal) -> dict[str, str]:
    tags: dict[str, str] = {}
    for found in journal.records():
        if not isinstance(found, Damage) and isinstance(found.record, Tags):
            tags |= found.record.values
    return tags
