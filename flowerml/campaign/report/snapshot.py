"""What there is to tell of a campaign at one moment, as plain records: what the live table, the tracking table and the
report show.

The runner makes a `Campaign` at every change; who renders it needs nothing else but the runs' own folders.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flowerml.campaign.status import CampaignStatus, Epoch, PhaseStatus, RunStatus
from flowerml.selection.decision import Decision


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One run of the plan.

    `order` is its 1-based place in the plan, `model` the catalogue name and `title` how people write it
    (`ConvNeXtV2-Large`). `given` are the settings that the plan gives it beyond what all runs of its family have, as
    text, in the plan's order; empty for a run whose configuration is not chosen yet. `config` is the plan's name of its
    configuration (the run that was selected on, for a confirming or a final run). Figures are those of the best epoch,
    None where there are none (not finished, or no validation). `folder` is where its files lie (see README, "What a run
    leaves"), None where nothing was begun or it ran on another host; `checkpoint` is the path of `best.pth` as a person
    would type it, "" while there is none. `started` is in milliseconds since 1970; `seconds` sums up all its tries,
    `left` is about how many are still to come. `reason` says why a run failed.
    """

    name: str
    phase: str
    order: int
    family: str
    model: str
    title: str
    seed: int
    status: RunStatus
    given: Mapping[str, str] = field(default_factory=dict)
    config: str | None = None
    epochs: int | None = None
    history: tuple[Epoch, ...] = ()
    best_epoch: int | None = None
    accuracy: float | None = None
    macro_f1: float | None = None
    hits: int | None = None
    total: int | None = None
    folder: Path | None = None
    checkpoint: str = ""
    run_id: str = ""
    config_id: str = ""
    started: int | None = None
    seconds: float | None = None
    left: float | None = None
    tries: int = 0
    reason: str = ""

    @property
    def epoch(self) -> int:
        """The last whole epoch."""
        return self.history[-1].number if self.history else 0


@dataclass(frozen=True, kw_only=True)
class DecisionSummary:
    """What was chosen at the end of a phase.

    `decision` is the selector's own record: words, standings with intervals, comparison, who was not eligible and why.
    `chosen` are the plan's names of the configurations that go on, the best first. `said` are sentences about them that
    a reader of the report wants first.
    """

    phase: str
    decision: Decision
    chosen: tuple[str, ...]
    highlights: tuple[str, ...]
    run_id: str = ""


@dataclass(frozen=True, kw_only=True)
class PhaseSnapshot:
    """One phase with its runs in the plan's order. `kind` is what it is for: smoke, select, confirm or final. `left` is
    in seconds.
    """

    name: str
    title: str
    kind: str
    status: PhaseStatus
    runs: tuple[RunRow, ...]
    decision: DecisionSummary | None = None
    left: float | None = None


@dataclass(frozen=True, kw_only=True)
class DeliveredFile:
    """A file of the delivery: the family's weights, and which registered version they are. `words` say what became of
    the alias.
    """

    family: str
    path: Path
    sha256: str
    registered_model: str
    version: str
    source_run: str
    words: str


@dataclass(frozen=True, kw_only=True)
class CampaignSnapshot:
    """The whole at one moment. Times are milliseconds since 1970, `left` is in seconds, digests are sha256 (hex).

    `command` are the words that start it again, `overrides` the `--set` among them; `warnings` are what the plan was
    accepted with. `environment` names what it ran on: host, device, versions, git commit.
    """

    id: str
    plan: str
    title: str
    status: CampaignStatus
    phases: tuple[PhaseSnapshot, ...]
    plan_digest: str
    data_digest: str
    split_digest: str
    classes: tuple[str, ...]
    train_dir: str
    started: int
    updated: int
    left: float | None = None
    reason: str = ""
    run_id: str = ""
    command: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    delivered: tuple[DeliveredFile, ...] = ()

    @property
    def runs(self) -> tuple[RunRow, ...]:
        """Every run in the plan's order."""
        return tuple(run for phase in self.phases for run in phase.runs)
