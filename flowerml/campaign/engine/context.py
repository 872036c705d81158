"""The context of a campaign: data, id, folder, ledger, and its own run at the tracking server."""

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flowerml.campaign.engine.deadline import Deadline
from flowerml.campaign.plan.model import PhaseKind, Plan
from flowerml.campaign.plan.run_settings import recipe_model
from flowerml.campaign.state.external_choice import ExternalChoice, resolve_external_choices
from flowerml.campaign.state.ledger import check_run_names, open_ledger
from flowerml.campaign.state.run_status import RunLocations, check_ownership
from flowerml.errors import Stopped, UserError
from flowerml.runs.lifecycle.attempts import lease_owner
from flowerml.runs.lifecycle.lease import Lease, acquire
from flowerml.settings import find_model, resolve
from flowerml.tasks import task_for
from flowerml.text import escape_markdown
from flowerml.tracking.search.campaigns import CampaignRun, open_campaign, runs_of_campaign, unreachable_reason

logger = logging.getLogger(__name__)

LEASE_S = 60.0
_RUN_KINDS = ("train", "smoke", "final")
_LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True)
class CampaignOptions:
    """Options of the command line. `retry` resets the failures of all runs; `command` is shown in the report.

    `language` is that of report and tables; runs that do not fit before the `deadline` are skipped. Both are no part of
    the campaign's identity.
    """

    train_dir: str
    runs_root: Path
    output_dir: Path
    experiment: str | None = None
    name: str | None = None
    retry: bool = False
    command: tuple[str, ...] = ()
    language: str = "en"
    deadline: Deadline | None = None


@dataclass(frozen=True)
class DataInfo:
    """The data of a campaign: digests, classes, sizes of the split, and the MLflow experiment of its task."""

    data_digest: str
    split_digest: str
    classes: tuple[str, ...]
    train: int
    val: int
    experiment: str


@dataclass(frozen=True)
class CampaignContext:
    """What the engine needs. `external_choices`: winners of other campaigns that the plan depends on."""

    plan: Plan
    options: CampaignOptions
    data: DataInfo
    id: str
    locations: RunLocations
    parent: CampaignRun
    external_choices: Mapping[str, ExternalChoice]

    @property
    def folder(self) -> Path:
        """The campaign's own folder: table, report, logs, ledger."""
        return self.locations.ledger.folder


def load_data_info(plan: Plan, train_dir: str) -> DataInfo:
    """Read and split the images as the runs will. Raises UserError for unusable images, or runs of several tasks."""
    tasks = {task_for(find_model(recipe_model(family))).name for family in plan.families}
    if len(tasks) > 1:
        raise UserError(
            f"{plan.file}: the plan has runs of {' and '.join(sorted(tasks))}: one folder can't be both; make two plans"
            " of it"
        )
    settings = next((run.settings for run in plan.runs if run.settings is not None), None)
    if settings is None:
        settings = resolve({"model": recipe_model(plan.runs[0].family)})[0]
    settings = settings.replace(train_dir=train_dir)
    task = task_for(find_model(settings.model))
    found = task.prepare(settings)
    for line in found.remarks:
        logger.warning(line.removeprefix("warning: ")) if line.startswith("warning: ") else logger.info(line)
    logger.info(f"split: {len(found.train)} train, {len(found.val)} val (digest {found.split.digest[:8]})")
    return DataInfo(
        found.split.data_digest, found.split.digest, found.classes, len(found.train), len(found.val), task.name
    )


def campaign_id(plan: Plan, data: DataInfo, name: str | None) -> str:
    """The id of a plan with its overrides on some data, the same after every restart; `name` marks a repetition."""
    return "-".join([plan.name, plan.digest[:8], data.data_digest[:8], *([name] if name else [])])


def acquire_lease(folder: Path, campaign: str) -> Lease:
    """Acquire the lease of a campaign's folder. Raises UserError where another process holds it."""
    owner = lease_owner(folder)
    if owner is not None and not owner.expired:
        raise UserError(
            f"campaign {campaign} is being run by {owner}: wait for it, or give this one another --name and --runs-root"
        )
    return acquire(folder, LEASE_S)


def build_context(
    plan: Plan, options: CampaignOptions, data: DataInfo, campaign: str, stop_reason: Callable[[], str | None]
) -> CampaignContext:
    """Open ledger and MLflow run of a campaign whose lease is held; wait for a tracking server that is unreachable.

    `stop_reason` returns why to stop waiting, None to go on.

    Raises:
        UserError: the folder has runs of another campaign, or the tracking server refuses.
        Stopped: a stop was requested.
    """
    names = tuple(run.name for run in plan.runs)
    check_run_names(options.runs_root, campaign, names)
    ledger = open_ledger(
        options.runs_root / campaign,
        campaign=campaign,
        plan=plan.name,
        plan_digest=plan.digest,
        data_digest=data.data_digest,
        names=names,
    )
    # Who restarts a campaign has seen what stopped it, so that is tried again; other failures need --retry.
    blocking = [
        run.name for phase in plan.phases if phase.kind in (PhaseKind.SMOKE, PhaseKind.FINAL) for run in phase.runs
    ]
    ledger.reset_failures(names if options.retry else blocking)
    wait_for_server(stop_reason)
    superseded = {run_id for notes in ledger.runs.values() for run_id in notes.superseded}
    known = {
        run.tags["plan_run"]: run
        for run in runs_of_campaign(campaign, _RUN_KINDS)
        if "plan_run" in run.tags and run.run_id not in superseded
    }
    locations = RunLocations(options.runs_root, ledger, known)
    check_ownership(plan, locations, campaign)
    external_choices = resolve_external_choices(plan, data.data_digest)
    tags = {
        "flowerml.plan": plan.name,
        "flowerml.plan_digest": plan.digest,
        "flowerml.data_digest": data.data_digest,
        "flowerml.split_digest": data.split_digest,
        "flowerml.overrides": " ".join(plan.overrides) or "none",
        "mlflow.note.content": (
            f"{escape_markdown(plan.title)}\n\nCampaign `{campaign}`: see report.html among the artifacts."
        ),
    }
    parent = open_campaign(campaign, f"campaign {plan.name}", options.experiment or data.experiment, tags)
    os.environ.pop("MLFLOW_RUN_ID", None)  # the campaign's own run: nothing else may be logged to it
    ledger.save()
    return CampaignContext(plan, options, data, campaign, locations, parent, external_choices)


def wait_for_server(stop_reason: Callable[[], str | None]) -> None:
    """Wait until the tracking server answers. Raises Stopped where a stop is requested, UserError where it refuses."""
    pause, warned = 0.5, ""
    while (why := unreachable_reason()) is not None and stop_reason() is None:
        if why.kind.value != warned:  # told again when something else is broken
            logger.warning(f"{why}. The campaign waits for it (Ctrl-C ends that)")
            warned = why.kind.value
        time.sleep(pause)
        pause = min(_LONGEST_PAUSE_S, 2 * pause)
    if reason := stop_reason():
        raise Stopped(reason)
    if warned:
        logger.info("the tracking server answers")
