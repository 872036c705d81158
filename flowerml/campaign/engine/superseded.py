"""Runs of an earlier decision: a run that a new decision gives another configuration is set aside and made again."""

import json
import logging
from pathlib import Path
from typing import Any

from flowerml.campaign.engine.context import CampaignContext
from flowerml.campaign.plan.model import FinalMode, PhaseKind, PlanRun
from flowerml.campaign.state.ledger import RunNotes
from flowerml.runs.lifecycle.attempts import lease_owner
from flowerml.runs.lifecycle.run_file import read_run_file
from flowerml.settings import Settings
from flowerml.settings.declaration import fields
from flowerml.settings.spec import metadata
from flowerml.tracking import sync_folder

logger = logging.getLogger(__name__)

FOLDER = "superseded"


def set_aside_if_superseded(context: CampaignContext, run: PlanRun, settings: Settings) -> bool:
    """Move the folder of a dependent run into `superseded/` of the campaign's where it holds other settings.

    That is so where runs that had been skipped, or had failed, have come into a decision since. Its MLflow run stays. A
    run that somebody works on is left alone. Returns whether it was moved.
    """
    folder = context.locations.folder(run.name)
    run_file, owner = read_run_file(folder), lease_owner(folder)
    if run_file is None or (owner is not None and not owner.expired):
        return False
    if not _has_other_settings(folder, settings) and not _is_older_average(context, run):
        return False
    sync_folder(folder)
    notes = context.locations.ledger.notes_of(run.name)
    target = context.folder / FOLDER / f"{run.name}-{len(notes.superseded) + 1}"
    target.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(target)
    context.locations.settled.discard(run.name)
    context.locations.ledger.runs[run.name] = RunNotes(superseded=[*notes.superseded, run_file.run_id])
    context.locations.ledger.save()
    logger.info(f"{run.name}: its phase has been decided anew, so it is made again; the earlier one is in {target}")
    return True


def _has_other_settings(folder: Path, settings: Settings) -> bool:
    """Whether the run there has a value of a setting that shapes the result, or a seed, other than these."""
    try:
        found: dict[str, Any] = json.loads((folder / "settings.json").read_text("utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        return False  # what it is can't be told: it stays
    wanted = settings.model_dump(mode="json")
    return any(
        found.get(name, field.default) != wanted[name]
        for name, field in fields().items()
        if (name == "seed" or metadata(field, "identity")) and wanted[name] is not None
    )


def _is_older_average(context: CampaignContext, run: PlanRun) -> bool:
    """Whether a run is an average of the campaign's runs, one of which was begun after it."""
    final = context.plan.phase(run.phase).final
    if final is None or final.mode is not FinalMode.SOUP:
        return False
    others = [one.name for phase in context.plan.phases if phase.kind is not PhaseKind.FINAL for one in phase.runs]
    begun = [context.locations.ledger.notes_of(name).started or 0 for name in others]
    return max(begun, default=0) > (context.locations.ledger.notes_of(run.name).started or 0)
