"""What a campaign stands on before its first run: the pictures, its name, its folder, the tracking server, its own run
there.
"""

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flowerml.campaign.plan.model import Kind, Plan
from flowerml.campaign.plan.run_settings import recipe_model
from flowerml.campaign.state.external_choice import Elsewhere, look_elsewhere
from flowerml.campaign.state.ledger import open_ledger, require_own_names
from flowerml.campaign.state.run_status import Place, require_own
from flowerml.errors import UserError
from flowerml.runs.lifecycle.lease import Attempt, claim, holder
from flowerml.settings import find_model, resolve
from flowerml.tasks import task_for
from flowerml.tracking.search.campaigns import Parent, open_campaign, runs_of_campaign, silence
from flowerml.training.callbacks import Stopped

logger = logging.getLogger(__name__)

LEASE_S = 60.0
_KINDS = ("train", "smoke", "final")
_LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True)
class Options:
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
class Data:
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
class Ground:
    """A campaign that can begin or go on. `elsewhere`: what other campaigns have chosen that it follows."""

    plan: Plan
    options: Options
    data: Data
    id: str
    place: Place
    parent: Parent
    elsewhere: Mapping[str, Elsewhere]

    @property
    def folder(self) -> Path:
        """The campaign's own folder: table, report, logs, notes."""
        return self.place.ledger.folder


def look_at_data(plan: Plan, train_dir: str) -> Data:
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
    return Data(found.split.data_digest, found.split.digest, found.classes, len(found.train), len(found.val), task.name)


def campaign_id(plan: Plan, data: Data, name: str | None) -> str:
    """The name of a plan with its overrides on some data: the same after every restart. `name` tells a repetition from
    the first one.
    """
    return "-".join([plan.name, plan.digest[:8], data.data_digest[:8], *([name] if name else [])])


def take_hold(folder: Path, campaign: str) -> Attempt:
    """Claim a campaign's folder. Raises UserError where another runner holds it, and says who."""
    who = holder(folder)
    if who is not None and not who.gone:
        raise UserError(
            f"campaign {campaign} is being run by {who}: wait for it, or give this one another --name and --runs-root"
        )
    return claim(folder, LEASE_S)


def prepare_ground(plan: Plan, options: Options, data: Data, campaign: str, asked: Callable[[], str | None]) -> Ground:
    """Open what the campaign stands on; its folder is claimed already. Waits for a tracking server that does not
    answer.

    `asked` says why to stop waiting, None to go on.

    Raises:
        UserError: another campaign's runs lie where its own would, or the tracking server refuses.
        Stopped: somebody asked to stop.
    """
    names = tuple(run.name for run in plan.runs)
    require_own_names(options.runs_root, campaign, names)
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
    blocking = [run.name for phase in plan.phases if phase.kind in (Kind.SMOKE, Kind.FINAL) for run in phase.runs]
    ledger.forgive(names if options.retry else blocking)
    wait_for_server(asked)
    known = {run.tags["plan_run"]: run for run in runs_of_campaign(campaign, _KINDS) if "plan_run" in run.tags}
    place = Place(options.runs_root, ledger, known)
    require_own(plan, place, campaign)
    elsewhere = look_elsewhere(plan, data.data_digest)
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
    return Ground(plan, options, data, campaign, place, parent, elsewhere)


def wait_for_server(asked: Callable[[], str | None]) -> None:
    """Until the tracking server answers. Raises Stopped where somebody asks for that, UserError where it refuses."""
    pause, told = 0.5, False
    while (why := silence()) is not None and asked() is None:
        if not told:
            logger.warning(f"the tracking server does not answer ({why}): the campaign waits for it (Ctrl-C ends that)")
            told = True
        time.sleep(pause)
        pause = min(_LONGEST_PAUSE_S, 2 * pause)
    if reason := asked():
        raise Stopped(reason)
    if told:
        logger.info("the tracking server answers")
