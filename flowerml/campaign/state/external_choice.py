"""What another plan's campaign on the same pictures has chosen, for a plan that goes on from there."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from flowerml.campaign.plan.model import Phase, Plan, shaping
from flowerml.campaign.state.promotion import PromotedConfig
from flowerml.errors import UserError
from flowerml.settings import resolve, settings_from_json
from flowerml.tracking.search.campaigns import ServerRun, campaigns_of_plan, fetch_artifact, runs_of_campaign

_OF_THE_MODEL = ("mean", "std", "interpolation", "crop_pct")  # found out anew, as a changed model may have others


@dataclass(frozen=True)
class ExternalChoice:
    """The configuration that the phase of another campaign has chosen."""

    campaign: str
    config_id: str
    choice: PromotedConfig


def resolve_external_choices(plan: Plan, data_digest: str) -> dict[str, ExternalChoice]:
    """By `PLAN/PHASE`, for every phase that follows another plan's: what its newest finished campaign on this data
    chose there.

    Raises:
        UserError: there is no such campaign, or it chose something of another family.
    """
    return {
        phase.confirm.of: _chosen_by(plan, phase, data_digest)
        for phase in plan.phases
        if phase.confirm and phase.confirm.elsewhere
    }


def _chosen_by(plan: Plan, phase: Phase, data_digest: str) -> ExternalChoice:
    assert phase.confirm is not None
    assert phase.confirm.elsewhere is not None
    other, where = phase.confirm.elsewhere
    finished = [run for run in campaigns_of_plan(other, data_digest) if run.status == "FINISHED"]
    for campaign in reversed(finished):
        decided = [
            run for run in runs_of_campaign(campaign.tags["campaign"], ("select",)) if run.tags.get("phase") == where
        ]
        decided = [
            run for run in decided if run.status == "FINISHED" and run.tags.get("family") == phase.runs[0].family.value
        ]
        if decided:
            return _of(campaign.tags["campaign"], decided[-1])
    raise UserError(
        f"{plan.file}: phase {phase.name} follows phase {where} of plan {other}, and no finished campaign of it on"
        f" these pictures (data {data_digest[:8]}) is at the tracking server: run it first (flowerml campaign --plan"
        f" {other})"
    )


def _of(campaign: str, decided: ServerRun) -> ExternalChoice:
    run_id, config_id = decided.tags["chosen_run"], decided.tags["winner"]
    with tempfile.TemporaryDirectory(prefix="flowerml-campaign-") as scratch:
        content = json.loads(fetch_artifact(run_id, "settings.json", Path(scratch)).read_text("utf-8"))
    settings = settings_from_json(content["settings"])
    asked = {
        name: value for name, value in shaping(settings).items() if name not in _OF_THE_MODEL and value is not None
    }
    name = f"{campaign}: {settings.run_name}"
    return ExternalChoice(
        campaign, config_id, PromotedConfig(name, resolve(asked)[0], settings.epochs, name, run_id, settings.seed)
    )
