"""Make the job of a run: settings with folders and names, tags, and what its process does."""

import logging
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

logger = logging.getLogger(__name__)

PREDICTIONS = "predictions.csv"
_COPIED_FILES = ("best.pth", "probe.npz", PREDICTIONS, "settings.json", "split.json", "history.csv")
# Tags that are not copied with a run.
_OWN_TAGS = ("heartbeat", "journal", "reason", "ended", "resumed_from")


def log_path(context: CampaignContext, name: str) -> Path:
    """The log file of a run."""
    return context.folder / "logs" / f"{name}.log"


def make_job(context: CampaignContext, run: PlanRun, settings: Settings, config: PromotedConfig | None) -> RunJob:
    """The job of a run. `config` is the promoted configuration it repeats, None where the plan has its settings.

    Raises:
        UserError: the files of a model to keep are gone.
    """
    phase = context.plan.phase(run.phase)
    full_settings = settings.replace(
        train_dir=context.options.train_dir,
        output_dir=str(context.locations.folder(run.name)),
        runs_root=str(context.locations.root),
        run_name=run.name,
        experiment=context.parent.experiment,
    )
    labels = {
        "flowerml.kind": {PhaseKind.SMOKE: "smoke", PhaseKind.FINAL: "final"}.get(phase.kind, "train"),
        CAMPAIGN: context.id,
        "flowerml.plan": context.plan.name,
        "flowerml.phase": phase.name,
        "flowerml.plan_run": run.name,
        "flowerml.plan_order": str(run.order),
        PARENT: context.parent.recorder.run_id,
    }
    log = log_path(context, run.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    job = RunJob(
        run.name,
        JobKind.SMOKE if phase.kind is PhaseKind.SMOKE else JobKind.TRAIN,
        full_settings.model_dump(mode="json"),
        labels,
        str(log),
    )
    if phase.final is not None and phase.final.mode is FinalMode.KEEP_BEST:
        assert config is not None
        return _make_copy_job(context, job, config)
    if phase.final is not None:
        assert config is not None
        return replace(job, calibration_folders=_calibration_folders(context, config))
    return job


def _calibration_folders(context: CampaignContext, config: PromotedConfig) -> tuple[str, ...]:
    """The folders of a configuration's runs, fetched where this host has them not; without a calibration one can go on.

    A retrained final model holds out no image that could calibrate it.
    """
    folders = []
    for name, run_id in config.runs:
        folder = context.locations.folder(name)
        if not (folder / PREDICTIONS).is_file():
            folder = context.folder / "fetched" / name
            try:
                fetch_artifact(run_id, PREDICTIONS, folder)
            except UserError as error:
                logger.warning(f"{PREDICTIONS} of {name} is not to be had: the calibration goes without it ({error})")
                continue
        folders.append(str(folder))
    return tuple(folders)


def _make_copy_job(context: CampaignContext, job: RunJob, config: PromotedConfig) -> RunJob:
    """A job that copies the run of a configuration's best seed. Raises UserError where its files are gone."""
    known = next((run for run in runs_of_campaign(context.id, ("train",)) if run.run_id == config.best_run_id), None)
    if known is None:
        raise UserError(
            f"run {config.best_run_id} ({config.best_run}) is not at the tracking server any more: nothing to keep"
        )
    source = context.locations.folder(config.best_run)
    if read_run_file(source) is None:
        source = context.folder / "fetched" / config.best_run
        for name in _COPIED_FILES:
            fetch_artifact(config.best_run_id, name, source)
    copied_tags = {f"flowerml.{name}": text for name, text in known.tags.items() if name not in _OWN_TAGS}
    labels = {
        **copied_tags,
        **job.labels,
        "flowerml.seed": str(config.best_seed),
        "flowerml.source_run": config.best_run_id,
    }
    figures = {name: value for name, value in known.metrics.items() if name.startswith("best_")}
    return replace(job, kind=JobKind.COPY, source=str(source), labels=labels, figures=figures)
