"""The winner of another plan's campaign on the same data, for a plan that depends on it."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from flowerml.campaign.plan.model import Phase, Plan, identity_settings
from flowerml.campaign.state.promotion import PromotedConfig
from flowerml.errors import UserError
from flowerml.settings import resolve, settings_from_json
from flowerml.tracking.search.campaigns import ServerRun, campaigns_of_plan, fetch_artifact, runs_of_campaign

_INPUT_SETTINGS = ("mean", "std", "interpolation", "crop_pct")  # resolved again: a changed model may have others


@dataclass(frozen=True)
class ExternalChoice:
    """The winner of a phase of another campaign."""

    campaign: str
    config_id: str
    config: PromotedConfig


def resolve_external_choices(plan: Plan, data_digest: str) -> dict[str, ExternalChoice]:
    """By `PLAN/PHASE`, for every phase that depends on another plan: the winner in its latest finished campaign on this
    data.

    Raises:
        UserError: there is no such campaign, or its winner is of another family.
    """
    return {
        phase.confirm.of: _find_external_choice(plan, phase, data_digest)
        for phase in plan.phases
        if phase.confirm and phase.confirm.external
    }


def _find_external_choice(plan: Plan, phase: Phase, data_digest: str) -> ExternalChoice:
    assert phase.confirm is not None
    assert phase.confirm.external is not None
    other_plan, other_phase = phase.confirm.external
    finished = [run for run in campaigns_of_plan(other_plan, data_digest) if run.status == "FINISHED"]
    for campaign in reversed(finished):
        decided = [
            run
            for run in runs_of_campaign(campaign.tags["campaign"], ("select",))
            if run.tags.get("phase") == other_phase
        ]
        decided = [
            run for run in decided if run.status == "FINISHED" and run.tags.get("family") == phase.runs[0].family.value
        ]
        if decided:
            return _load_external_choice(campaign.tags["campaign"], decided[-1])
    raise UserError(
        f"{plan.file}: phase {phase.name} follows phase {other_phase} of plan {other_plan}, and no finished campaign of"
        f" it on these pictures (data {data_digest[:8]}) is at the tracking server: run it first"
        f" (flowerml campaign --plan {other_plan})"
    )


def _load_external_choice(campaign: str, decided: ServerRun) -> ExternalChoice:
    run_id, config_id = decided.tags["chosen_run"], decided.tags["winner"]
    with tempfile.TemporaryDirectory(prefix="flowerml-campaign-") as scratch:
        content = json.loads(fetch_artifact(run_id, "settings.json", Path(scratch)).read_text("utf-8"))
    settings = settings_from_json(content["settings"])
    values = {
        name: value
        for name, value in identity_settings(settings).items()
        if name not in _INPUT_SETTINGS and value is not None
    }
    name = f"{campaign}: {settings.run_name}"
    return ExternalChoice(
        campaign, config_id, PromotedConfig(name, resolve(values)[0], settings.epochs, name, run_id, settings.seed)
    )
