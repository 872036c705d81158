"""What a campaign stands on before its first run: the pictures, its name, its folder, the tracking server, its own run
there.
"""

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

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
from flowerml.tracking.search.campaigns import CampaignRun, open_campaign, runs_of_campaign, unreachable_reason

logger = logging.getLogger(__name__)

LEASE_S = 60.0
_KINDS = ("train", "smoke", "final")
_LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True)
class CampaignOptions:
    """What the command line says beside the plan. `retry`: forget how often runs have failed; `command`: the words that
    were typed.
    """

    train_dir: str
    runs_root: Path
    output_dir: Path
    experiment: str | None = None
    name: str | None = None
    retry: bool = False
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataInfo:
    """The pictures of a campaign: digests, classes, how many of each side, and where the runs of their task belong at
    MLflow.
    """

    data_digest: str
    split_digest: str
    classes: tuple[str, ...]
    train: int
    val: int
    experiment: str


@dataclass(frozen=True)
class CampaignContext:
    """A campaign that can begin or go on. `elsewhere`: what other campaigns have chosen that it follows."""

    plan: Plan
    options: CampaignOptions
    data: DataInfo
    id: str
    locations: RunLocations
    parent: CampaignRun
    external_choices: Mapping[str, ExternalChoice]

    @property
    def folder(self) -> Path:
        """The campaign's own folder: table, report, logs, notes."""
        return self.locations.ledger.folder


def load_data_info(plan: Plan, train_dir: str) -> DataInfo:
    """Read and split the pictures as the runs will. Raises UserError for anything wrong with them, or runs of several
    tasks.
    """
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
    """The name of a plan with its overrides on some data: the same after every restart. `name` tells a repetition from
    the first one.
    """
    return "-".join([plan.name, plan.digest[:8], data.data_digest[:8], *([name] if name else [])])


def acquire_lease(folder: Path, campaign: str) -> Lease:
    """Claim a campaign's folder. Raises UserError where another runner holds it, and says who."""
    who = lease_owner(folder)
    if who is not None and not who.expired:
        raise UserError(
            f"campaign {campaign} is being run by {who}: wait for it, or give this one another --name and --runs-root"
        )
    return acquire(folder, LEASE_S)


def build_context(
    plan: Plan, options: CampaignOptions, data: DataInfo, campaign: str, asked: Callable[[], str | None]
) -> CampaignContext:
    """Open what the campaign stands on; its folder is claimed already. Waits for a tracking server that does not
    answer.

    `asked` says why to stop waiting, None to go on.

    Raises:
        UserError: another campaign's runs lie where its own would, or the tracking server refuses.
        Stopped: somebody asked to stop.
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
    # Whoever starts a campaign again has seen what stopped it, so that is tried once more; other failures are for good
    # unless said.
    blocking = [
        run.name for phase in plan.phases if phase.kind in (PhaseKind.SMOKE, PhaseKind.FINAL) for run in phase.runs
    ]
    ledger.reset_failures(names if options.retry else blocking)
    wait_for_server(asked)
    known = {run.tags["plan_run"]: run for run in runs_of_campaign(campaign, _KINDS) if "plan_run" in run.tags}
    place = RunLocations(options.runs_root, ledger, known)
    check_ownership(plan, place, campaign)
    elsewhere = resolve_external_choices(plan, data.data_digest)
    tags = {
        "flowerml.plan": plan.name,
        "flowerml.plan_digest": plan.digest,
        "flowerml.data_digest": data.data_digest,
        "flowerml.split_digest": data.split_digest,
        "flowerml.overrides": " ".join(plan.overrides) or "none",
        "mlflow.note.content": f"{plan.title}\n\nCampaign `{campaign}`: see report.html among the artifacts.",
    }
    parent = open_campaign(campaign, f"campaign {plan.name}", options.experiment or data.experiment, tags)
    os.environ.pop("MLFLOW_RUN_ID", None)  # it is the campaign's: nothing else that this process writes belongs there
    ledger.save()
    return CampaignContext(plan, options, data, campaign, place, parent, elsewhere)


def wait_for_server(asked: Callable[[], str | None]) -> None:
    """Until the tracking server answers. Raises Stopped where somebody asks for that, UserError where it refuses."""
    pause, told = 0.5, False
    while (why := unreachable_reason()) is not None and asked() is None:
        if not told:
            logger.warning(f"the tracking server does not answer ({why}): the campaign waits for it (Ctrl-C ends that)")
            told = True
        time.sleep(pause)
        pause = min(_LONGEST_PAUSE_S, 2 * pause)
    if reason := asked():
        raise Stopped(reason)
    if told:
        logger.info("the tracking server answers")
