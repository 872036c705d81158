"""Make the job of a run: settings with folders and names, tags, and what its process does."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flowerml.campaign.engine.context import CampaignContext
from flowerml.campaign.execution.job import JobKind, RunJob
from flowerml.campaign.plan.model import FinalMode, PhaseKind, PlanRun
from flowerml.campaign.state.promotion import PromotedConfig
from flowerml.errors import UserError
from flowerml.runs.lifecycle.run_owner import run_id_of
from flowerml.settings import Settings
from flowerml.tracking.search.campaigns import CAMPAIGN, PARENT, ServerRun, fetch_artifact, runs_of_campaign

logger = logging.getLogger(__name__)

PREDICTIONS = "predictions.csv"
_COPIED_FILES = ("best.pth", "probe.npz", PREDICTIONS, "settings.json", "split.json", "history.csv")
_AVERAGED_FILES = ("best.pth", "settings.json", "split.json")
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
    if phase.final is not None and phase.final.mode is FinalMode.SOUP:
        assert config is not None
        return _make_soup_job(context, job, run, config)
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
        if not (folder / PREDICTIONS).is_file() or run_id_of(folder) != run_id:
            folder = context.folder / "fetched" / run_id
            try:
                fetch_artifact(run_id, PREDICTIONS, folder)
            except UserError as error:
                logger.warning(f"{PREDICTIONS} of {name} is not to be had: the calibration goes without it ({error})")
                continue
        folders.append(str(folder))
    return tuple(folders)


def _make_copy_job(context: CampaignContext, job: RunJob, config: PromotedConfig) -> RunJob:
    """A job that copies the run of a configuration's best seed. Raises UserError where its files are gone."""
    known = _best_run(context, config)
    source = _run_folder(context, config.best_run, config.best_run_id, _COPIED_FILES)
    figures = {name: value for name, value in known.metrics.items() if name.startswith("best_")}
    labels = _labels_of_best(job, known, config)
    return replace(job, kind=JobKind.COPY, source=str(source), labels=labels, figures=figures)


def _make_soup_job(context: CampaignContext, job: RunJob, run: PlanRun, config: PromotedConfig) -> RunJob:
    """A job that averages the runs of the phases that chose a configuration, its best run first.

    Raises:
        UserError: the files of a run are gone.
    """
    assert run.source is not None
    phases = {phase.name for phase in context.plan.ancestors(context.plan.phase(run.source.phase))}
    others = [
        (one.tags.get("plan_run", one.run_id), one.run_id)
        for one in runs_of_campaign(context.id, ("train",))
        if one.status == "FINISHED" and one.tags.get("phase") in phases and one.run_id != config.best_run_id
    ]
    known = _best_run(context, config)
    sources = [
        str(_run_folder(context, name, run_id, _AVERAGED_FILES))
        for name, run_id in ((config.best_run, config.best_run_id), *others)
    ]
    return replace(job, kind=JobKind.SOUP, sources=tuple(sources), labels=_labels_of_best(job, known, config))


def _best_run(context: CampaignContext, config: PromotedConfig) -> ServerRun:
    known = next((run for run in runs_of_campaign(context.id, ("train",)) if run.run_id == config.best_run_id), None)
    if known is None:
        raise UserError(
            f"run {config.best_run_id} ({config.best_run}) is not at the tracking server any more: nothing to keep"
        )
    return known


def _run_folder(context: CampaignContext, name: str, run_id: str, files: Sequence[str]) -> Path:
    """The folder of a run, into which its files are fetched where this host has it not. Raises UserError."""
    folder = context.locations.folder(name)
    if run_id_of(folder) != run_id:
        folder = context.folder / "fetched" / run_id
        for file in files:
            fetch_artifact(run_id, file, folder)
    return folder


def _labels_of_best(job: RunJob, known: ServerRun, config: PromotedConfig) -> dict[str, str]:
    """The tags of a configuration's best run, with those of the job."""
    copied_tags = {f"flowerml.{name}": text for name, text in known.tags.items() if name not in _OWN_TAGS}
    return {
        **copied_tags,
        **job.labels,
        "flowerml.seed": str(config.best_seed),
        "flowerml.source_run": config.best_run_id,
    }
