"""Build the snapshot of a campaign, which the table, the report and the display are made of."""

import os
import socket
import sys
from collections.abc import Mapping, Set
from functools import cache
from importlib.metadata import version
from pathlib import Path

from flowerml.campaign.engine.context import CampaignContext
from flowerml.campaign.plan.model import Phase, PlanRun
from flowerml.campaign.report.snapshot import CampaignSnapshot, DecisionSummary, DeliveredFile, PhaseSnapshot, RunRow
from flowerml.campaign.state.promotion import Promotions
from flowerml.campaign.state.run_status import ZERO_SHOT, read_final_metrics, read_history
from flowerml.campaign.state.scheduler import RunState, phase_status
from flowerml.campaign.status import CampaignStatus, Epoch, RunStatus
from flowerml.events import now_ms
from flowerml.runs.lifecycle.run_file import read_run_file
from flowerml.runs.lifecycle.run_owner import run_id_of
from flowerml.settings import Settings
from flowerml.tracking.search.campaigns import ServerRun
from flowerml.translation import translation

_TITLES = {
    "clip_vitl14": "CLIP ViT-L/14",
    "clip_vitl14_336": "CLIP ViT-L/14@336px",
    "clip_vitb16": "CLIP ViT-B/16",
    "clip_vitb32": "CLIP ViT-B/32",
    "clip_vits16": "CLIP ViT-S/16",
    "clip_vits32": "CLIP ViT-S/32",
}


def display_name(model: str) -> str:
    """A model's name for tables and reports."""
    if model.startswith("convnextv2_"):
        return f"ConvNeXtV2-{model.removeprefix('convnextv2_').capitalize()}"
    return _TITLES.get(model, model)


class SnapshotBuilder:
    """Builds snapshots of a campaign; files that can't change any more are read once."""

    def __init__(self, context: CampaignContext, run_settings: Mapping[str, Settings]) -> None:
        self._context = context
        self._settings = run_settings  # grows as configurations are promoted
        self._histories: dict[str, tuple[int, tuple[Epoch, ...]]] = {}
        self._figures: dict[str, dict[str, float]] = {}

    def build(
        self,
        states: Mapping[str, RunState],
        promotions: Promotions,
        decisions: Mapping[str, DecisionSummary],
        *,
        status: CampaignStatus = CampaignStatus.RUNNING,
        reason: str = "",
        delivered: tuple[DeliveredFile, ...] = (),
    ) -> CampaignSnapshot:
        """The snapshot of this moment."""
        context, plan = self._context, self._context.plan
        has_ended = status in (CampaignStatus.FAILED, CampaignStatus.FINISHED)
        phases = tuple(self._phase(phase, states, promotions, decisions, has_ended=has_ended) for phase in plan.phases)
        return CampaignSnapshot(
            id=context.id,
            plan=plan.name,
            title=plan.title or translation(context.options.language).gettext("Campaign {plan}", plan=plan.name),
            status=status,
            phases=phases,
            plan_digest=plan.digest,
            data_digest=context.data.data_digest,
            split_digest=context.data.split_digest,
            classes=context.data.classes,
            train_dir=context.options.train_dir,
            started=context.locations.ledger.started,
            updated=now_ms(),
            reason=reason,
            run_id=context.parent.recorder.run_id,
            command=context.options.command,
            overrides=plan.overrides,
            warnings=plan.warnings,
            environment=_describe_environment(),
            delivered=delivered,
            language=context.options.language,
        )

    def forget(self, name: str) -> None:
        """Read the files of a run again: another run has its place."""
        self._histories.pop(name, None)
        self._figures.pop(name, None)

    def _phase(
        self,
        phase: Phase,
        states: Mapping[str, RunState],
        promotions: Promotions,
        decisions: Mapping[str, DecisionSummary],
        *,
        has_ended: bool,
    ) -> PhaseSnapshot:
        decided: Set[str] = decisions.keys()
        return PhaseSnapshot(
            name=phase.name,
            title=phase.title,
            kind=phase.kind.value,
            status=phase_status(self._context.plan, phase, states, decided),
            runs=tuple(
                self._row(run, phase, states.get(run.name, RunState()), promotions, has_ended=has_ended)
                for run in phase.runs
            ),
            decision=decisions.get(phase.name),
        )

    def _row(self, run: PlanRun, phase: Phase, state: RunState, promotions: Promotions, *, has_ended: bool) -> RunRow:
        context = self._context
        folder, notes, known = (
            context.locations.folder(run.name),
            context.locations.ledger.notes_of(run.name),
            context.locations.known_run(run.name),
        )
        run_file = read_run_file(folder)
        settings = self._settings.get(run.name)
        finished = state.status is RunStatus.FINISHED
        figures = self._final_figures(run.name, folder, known) if finished else {}
        history = self._history(run.name, folder)
        unfinished = state.status in (RunStatus.TODO, RunStatus.INTERRUPTED)
        configs = promotions.get(run.source.phase, ()) if run.source else ()
        return RunRow(
            name=run.name,
            phase=phase.name,
            order=run.order,
            family=run.family.value,
            model=settings.model if settings else "",
            title=display_name(settings.model) if settings else run.family.value.upper(),
            seed=settings.seed if settings else run.seed,
            fold=run.fold,
            status=RunStatus.SKIPPED if has_ended and unfinished else state.status,
            config=configs[run.source.rank - 1].name if run.source and configs else run.configuration,
            epochs=(settings.stop_epoch or settings.epochs) if settings else None,
            limit=settings.max_minutes * 60 if settings and settings.max_minutes else None,
            history=history,
            best_epoch=_round_or_none(figures.get("best_epoch")),
            accuracy=figures.get("best_val_accuracy"),
            macro_f1=figures.get("best_val_macro_f1"),
            hits=_round_or_none(figures.get("val_hits")),
            total=_round_or_none(figures.get("val_total")),
            zero_shot=figures.get(ZERO_SHOT),
            folder=folder if run_file is not None else None,
            checkpoint=str(folder / "best.pth") if (folder / "best.pth").is_file() else "",
            run_id=run_id_of(folder) or (known.run_id if known else ""),
            config_id=run_file.config_id if run_file else (known.tags.get("config_id", "") if known else ""),
            started=notes.started or (known.started if known else None),
            seconds=notes.seconds or (known.seconds if known else None) or None,
            tries=notes.failures + (1 if finished or state.status is RunStatus.RUNNING else 0),
            reason=notes.reason if state.status is RunStatus.FAILED else state.reason,
        )

    def _final_figures(self, name: str, folder: Path, known: ServerRun | None) -> dict[str, float]:
        if name not in self._figures:
            tracked = dict(known.metrics) if known is not None else {}
            if known is not None:
                tracked |= {tag: float(known.tags[tag]) for tag in ("val_hits", "val_total") if tag in known.tags}
            self._figures[name] = read_final_metrics(folder) or tracked
        return self._figures[name]

    def _history(self, name: str, folder: Path) -> tuple[Epoch, ...]:
        try:
            modified = (folder / "history.csv").stat().st_mtime_ns
        except OSError:
            return ()
        if self._histories.get(name, (0, ()))[0] != modified:
            self._histories[name] = (modified, read_history(folder))
        return self._histories[name][1]


def _round_or_none(value: float | None) -> int | None:
    return None if value is None else round(value)


@cache
def _describe_environment() -> dict[str, str]:
    """Host and versions, for the report."""
    packages = {name: version(name) for name in ("flowerml", "torch", "timm", "open_clip_torch", "mlflow")}
    return {"host": socket.gethostname(), "python": sys.version.split()[0], "cores": str(os.cpu_count()), **packages}
