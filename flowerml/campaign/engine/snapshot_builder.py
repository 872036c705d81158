"""From how things stand to the campaign's story: the records that table, report and display are made of."""

import os
import socket
import sys
from collections.abc import Mapping, Set
from functools import cache
from importlib.metadata import version
from pathlib import Path

from flowerml.campaign.engine.context import CampaignContext
from flowerml.campaign.plan.model import Phase, PlanRun
from flowerml.campaign.report.snapshot import CampaignSnapshot, DecisionSummary, DeliveredFile, RunRow
from flowerml.campaign.report.snapshot import PhaseSnapshot as PhaseStory
from flowerml.campaign.state.promotion import Promotions
from flowerml.campaign.state.run_status import read_figures, read_history, run_id_of
from flowerml.campaign.state.scheduler import RunState, phase_status
from flowerml.campaign.status import CampaignStatus, Epoch, RunStatus
from flowerml.events import now_ms
from flowerml.runs.lifecycle.run_file import read_run_file
from flowerml.settings import Settings
from flowerml.tracking.search.campaigns import KnownRun

_TITLES = {
    "clip_vitl14": "CLIP ViT-L/14",
    "clip_vitl14_336": "CLIP ViT-L/14@336px",
    "clip_vitb16": "CLIP ViT-B/16",
    "clip_vitb32": "CLIP ViT-B/32",
    "clip_vits16": "CLIP ViT-S/16",
    "clip_vits32": "CLIP ViT-S/32",
}


def display_name(model: str) -> str:
    """A model's name as people write it."""
    if model.startswith("convnextv2_"):
        return f"ConvNeXtV2-{model.removeprefix('convnextv2_').capitalize()}"
    return _TITLES.get(model, model)


class SnapshotBuilder:
    """Makes the story of a campaign; what can't change any more is read once."""

    def __init__(self, ground: CampaignContext, run_settings: Mapping[str, Settings]) -> None:
        self._ground = ground
        self._settings = run_settings  # grows as configurations are chosen
        self._histories: dict[str, tuple[int, tuple[Epoch, ...]]] = {}
        self._figures: dict[str, dict[str, float]] = {}

    def build(
        self,
        states: Mapping[str, RunState],
        choices: Promotions,
        decisions: Mapping[str, DecisionSummary],
        *,
        status: CampaignStatus = CampaignStatus.RUNNING,
        reason: str = "",
        delivered: tuple[DeliveredFile, ...] = (),
    ) -> CampaignSnapshot:
        """How everything stands now."""
        ground, plan = self._ground, self._ground.plan
        over = status in (CampaignStatus.FAILED, CampaignStatus.FINISHED)
        phases = tuple(self._phase(phase, states, choices, decisions, over=over) for phase in plan.phases)
        return CampaignSnapshot(
            id=ground.id,
            plan=plan.name,
            title=plan.title or f"Campaign {plan.name}",
            status=status,
            phases=phases,
            plan_digest=plan.digest,
            data_digest=ground.data.data_digest,
            split_digest=ground.data.split_digest,
            classes=ground.data.classes,
            train_dir=ground.options.train_dir,
            started=ground.locations.ledger.started,
            updated=now_ms(),
            reason=reason,
            run_id=ground.parent.recorder.run_id,
            command=ground.options.command,
            overrides=plan.overrides,
            warnings=plan.warnings,
            environment=_environment(),
            delivered=delivered,
        )

    def _phase(
        self,
        phase: Phase,
        states: Mapping[str, RunState],
        choices: Promotions,
        decisions: Mapping[str, DecisionSummary],
        *,
        over: bool,
    ) -> PhaseStory:
        decided: Set[str] = decisions.keys()
        return PhaseStory(
            name=phase.name,
            title=phase.title,
            kind=phase.kind.value,
            status=phase_status(self._ground.plan, phase, states, decided),
            runs=tuple(
                self._row(run, phase, states.get(run.name, RunState()), choices, over=over) for run in phase.runs
            ),
            decision=decisions.get(phase.name),
        )

    def _row(self, run: PlanRun, phase: Phase, state: RunState, choices: Promotions, *, over: bool) -> RunRow:
        ground = self._ground
        folder, notes, known = (
            ground.locations.folder(run.name),
            ground.locations.ledger.of(run.name),
            ground.locations.known.get(run.name),
        )
        here = read_run_file(folder)
        settings = self._settings.get(run.name)
        finished = state.status is RunStatus.FINISHED
        figures = self._final_figures(run.name, folder, known) if finished else {}
        history = self._history(run.name, folder)
        unfinished = state.status in (RunStatus.TODO, RunStatus.INTERRUPTED)
        chosen = choices.get(run.source.phase, ()) if run.source else ()
        return RunRow(
            name=run.name,
            phase=phase.name,
            order=run.order,
            family=run.family.value,
            model=settings.model if settings else "",
            title=display_name(settings.model) if settings else run.family.value.upper(),
            seed=settings.seed if settings else run.seed,
            status=RunStatus.SKIPPED if over and unfinished else state.status,
            given=run.given,
            config=chosen[run.source.place - 1].name if run.source and chosen else run.configuration,
            epochs=(settings.stop_epoch or settings.epochs) if settings else None,
            history=history,
            best_epoch=_whole(figures.get("best_epoch")),
            accuracy=figures.get("best_val_accuracy"),
            macro_f1=figures.get("best_val_macro_f1"),
            hits=_whole(figures.get("val_hits")),
            total=_whole(figures.get("val_total")),
            folder=folder if here is not None else None,
            checkpoint=str(folder / "best.pth") if (folder / "best.pth").is_file() else "",
            run_id=run_id_of(folder) or (known.run_id if known else ""),
            config_id=here.config_id if here else (known.tags.get("config_id", "") if known else ""),
            started=notes.started or (known.started if known else None),
            seconds=notes.seconds or (known.seconds if known else None) or None,
            tries=notes.failures + (1 if finished or state.status is RunStatus.RUNNING else 0),
            reason=notes.reason if state.status is RunStatus.FAILED else "",
        )

    def _final_figures(self, name: str, folder: Path, known: KnownRun | None) -> dict[str, float]:
        if name not in self._figures:
            there = dict(known.metrics) if known is not None else {}
            if known is not None:
                there |= {tag: float(known.tags[tag]) for tag in ("val_hits", "val_total") if tag in known.tags}
            self._figures[name] = read_figures(folder) or there
        return self._figures[name]

    def _history(self, name: str, folder: Path) -> tuple[Epoch, ...]:
        try:
            changed = (folder / "history.csv").stat().st_mtime_ns
        except OSError:
            return ()
        if self._histories.get(name, (0, ()))[0] != changed:
            self._histories[name] = (changed, read_history(folder))
        return self._histories[name][1]


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


@cache
def _environment() -> dict[str, str]:
    """What it runs on, for the report."""
    packages = {name: version(name) for name in ("flowerml", "torch", "timm", "open_clip_torch", "mlflow")}
    return {"host": socket.gethostname(), "python": sys.version.split()[0], "cores": str(os.cpu_count()), **packages}
