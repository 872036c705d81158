"""The state of a campaign at one moment, as records: what console, tracking table and report show.

The runner builds a `CampaignSnapshot` at every change; rendering it needs nothing else but the runs' folders.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flowerml.campaign.status import CampaignStatus, Epoch, PhaseStatus, RunStatus
from flowerml.selection.decision import Decision
from flowerml.selection.registration import AliasAction


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One run of the plan.

    `order` is its 1-based position in the plan, `model` the catalogue name and `title` its usual spelling
    (`ConvNeXtV2-Large`). `config` is the plan's name of its configuration: for a confirming or a final run, the run it
    repeats. Metrics are those of the best epoch, None where there are none (not finished, or no validation). `folder`
    is None where nothing was started or the run was on another host; `checkpoint` is the path of `best.pth` as typed on
    the command line, "" while there is none. `zero_shot` is the validation accuracy before the first step, of a run
    whose head starts from class names. `started` is in milliseconds since 1970, `seconds` the sum over its tries,
    `left` an estimate of the seconds to come. `reason` says why a run failed or was skipped. `fold` is the one it holds
    out (None: the plan's split), `limit` its time limit in seconds (`max_minutes`).
    """

    name: str
    phase: str
    order: int
    family: str
    model: str
    title: str
    seed: int
    status: RunStatus
    config: str | None = None
    epochs: int | None = None
    history: tuple[Epoch, ...] = ()
    best_epoch: int | None = None
    accuracy: float | None = None
    macro_f1: float | None = None
    hits: int | None = None
    total: int | None = None
    zero_shot: float | None = None
    folder: Path | None = None
    checkpoint: str = ""
    run_id: str = ""
    config_id: str = ""
    started: int | None = None
    seconds: float | None = None
    left: float | None = None
    tries: int = 0
    reason: str = ""
    fold: int | None = None
    limit: float | None = None

    @property
    def epoch(self) -> int:
        """The last completed epoch, 0 before the first."""
        return self.history[-1].number if self.history else 0


@dataclass(frozen=True, kw_only=True)
class DecisionSummary:
    """The decision at the end of a phase.

    `decision` is the selector's record: sentences, ranking with intervals, comparison, who was not eligible and why.
    `chosen` are the plan's names of the promoted configurations, the best first; `highlights` are the sentences that
    come first in the report, in its language. `gains` are rows of `flowerml.selection.gains.GAIN_COLUMNS`, with the
    plan's names, over the configuration `base`.
    """

    phase: str
    decision: Decision
    chosen: tuple[str, ...]
    highlights: tuple[str, ...]
    run_id: str = ""
    base: str = ""
    gains: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class PhaseSnapshot:
    """One phase with its runs in the plan's order.

    `kind` is smoke, select, confirm or final; `left` an estimate of the seconds to come.
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
    """A delivered weights file of a family and its registered version.

    `alias_note` says where the alias points and why, in English, as the registry has it; `alias_action` what happened
    to it.
    """

    family: str
    path: Path
    sha256: str
    registered_model: str
    version: str
    source_run: str
    alias_note: str
    alias_action: AliasAction | None = None


@dataclass(frozen=True, kw_only=True)
class CampaignSnapshot:
    """A campaign at one moment. Times are milliseconds since 1970, `left` is in seconds, digests are sha256 (hex).

    `command` are the words that start it again, `overrides` the `--set` among them; `warnings` are those of the plan.
    `environment` names host, device, versions and git commit. `language` is that of report and tables, a code of
    `flowerml.translation.LANGUAGES`.
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
    language: str = "en"

    @property
    def runs(self) -> tuple[RunRow, ...]:
        """All runs in the plan's order."""
        return tuple(run for phase in self.phases for run in phase.runs)
