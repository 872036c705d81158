"""What the process of a run is told: its settings with folders and names, its tags, what it has to do."""

from dataclasses import replace
from pathlib import Path

from flowerml.campaign.engine.context import CampaignContext
from flowerml.campaign.execution.job import JobKind, RunJob
from flowerml.campaign.plan.model import FinalMode, PhaseKind, PlanRun
from flowerml.campaign.state.promotion import PromotedConfig
from flowerml.errors import UserError
from flowerml.runs.lifecycle.run_file import read_run_file
from flowerml.settings import Settings
from flowerml.tracking.search.campaigns import CAMPAIGN, PARENT, fetch_artifact, runs_of_campaign

_KEPT = ("best.pth", "probe.npz", "predictions.csv", "settings.json", "split.json", "history.csv")
_OF_ITSELF = (
    "heartbeat",
    "journal",
    "reason",
    "ended",
    "resumed_from",
)  # tags of a run that say nothing about a copy of it


def log_path(ground: CampaignContext, name: str) -> Path:
    """The file that takes what a run prints."""
    return ground.folder / "logs" / f"{name}.log"


def make_job(ground: CampaignContext, run: PlanRun, settings: Settings, choice: PromotedConfig | None) -> RunJob:
    """The job of a run; `choice` is the configuration it was given by a decision, None for the plan's own.

    Raises:
        UserError: the model to keep can't be had any more.
    """
    phase = ground.plan.phase(run.phase)
    ready = settings.replace(
        train_dir=ground.options.train_dir,
        output_dir=str(ground.locations.folder(run.name)),
        runs_root=str(ground.locations.root),
        run_name=run.name,
        experiment=ground.parent.experiment,
    )
    labels = {
        "flowerml.kind": {PhaseKind.SMOKE: "smoke", PhaseKind.FINAL: "final"}.get(phase.kind, "train"),
        CAMPAIGN: ground.id,
        "flowerml.plan": ground.plan.name,
        "flowerml.phase": phase.name,
        "flowerml.plan_run": run.name,
        "flowerml.plan_order": str(run.order),
        PARENT: ground.parent.recorder.run_id,
    }
    log = log_path(ground, run.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    job = RunJob(
        run.name,
        JobKind.SMOKE if phase.kind is PhaseKind.SMOKE else JobKind.TRAIN,
        ready.model_dump(mode="json"),
        labels,
        str(log),
    )
    if phase.final is not None and phase.final.mode is FinalMode.KEEP_BEST:
        assert choice is not None
        return _as_copy(ground, job, choice)
    return job


def _as_copy(ground: CampaignContext, job: RunJob, choice: PromotedConfig) -> RunJob:
    """A job that makes a run of a choice's best seed. Raises UserError where that one's files can't be had."""
    known = next((run for run in runs_of_campaign(ground.id, ("train",)) if run.run_id == choice.best_run_id), None)
    if known is None:
        raise UserError(
            f"run {choice.best_run_id} ({choice.best_run}) is not at the tracking server any more: nothing to keep"
        )
    source = ground.locations.folder(choice.best_run)
    if read_run_file(source) is None:
        source = ground.folder / "fetched" / choice.best_run
        for name in _KEPT:
            fetch_artifact(choice.best_run_id, name, source)
    carried = {f"flowerml.{name}": text for name, text in known.tags.items() if name not in _OF_ITSELF}
    labels = {
        **carried,
        **job.labels,
        "flowerml.seed": str(choice.best_seed),
        "flowerml.source_run": choice.best_run_id,
    }
    figures = {name: value for name, value in known.metrics.items() if name.startswith("best_")}
    return replace(job, kind=JobKind.COPY, source=str(source), labels=labels, figures=figures)
