"""The end of a phase: the selector's own decision among the campaign's runs, written down once, and said in the plan's
names.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

from flowerml.campaign.engine.context import CampaignContext
from flowerml.campaign.plan.model import Phase
from flowerml.campaign.report.snapshot import DecisionSummary
from flowerml.campaign.state.external_choice import ExternalChoice
from flowerml.campaign.state.promotion import PromotedConfig, Promotions, promote, scope_of
from flowerml.events import Recorder, Tags
from flowerml.runs.select import record_decision, select_configuration
from flowerml.selection.decision import Decision
from flowerml.selection.records import CandidateRun, PictureResults, Scope
from flowerml.tracking import TrackedRuns, start_child_run
from flowerml.tracking.search.campaigns import runs_of_campaign

logger = logging.getLogger(__name__)


def decide_phase(
    ground: CampaignContext, phase: Phase, choices: Promotions
) -> tuple[tuple[PromotedConfig, ...], DecisionSummary]:
    """What goes on from a phase, and the words for it. Asked again, after a restart, it is the same, and no second
    record is made.

    Raises:
        UserError: too few configurations can be ranked, or the tracking server does not answer.
    """
    scope = scope_of(ground.plan, phase, ground.id)
    other = ground.external_choices.get(phase.confirm.of) if phase.confirm else None
    if other is None:
        decision = select_configuration(scope, TrackedRuns())
        picked = promote(ground.plan, phase, decision, choices)
    else:  # what it was before it was changed is a candidate too
        decision = select_configuration(replace(scope, campaign=None, phases=None), CombinedRunSource(scope, other))
        picked = promote(ground.plan, phase, decision, choices, {other.config_id: other.choice})
    text = DecisionSummary(
        phase=phase.name,
        decision=decision,
        chosen=tuple(choice.name for choice in picked),
        highlights=_said(ground, phase, decision, picked),
        run_id=_recorded(ground, phase, decision) or _write(ground, phase, decision),
    )
    for line in text.highlights:
        logger.info(f"phase {phase.name}: {line}")
    return picked, text


class CombinedRunSource:
    """The runs of a scope, and those of one configuration of another campaign."""

    def __init__(self, scope: Scope, other: ExternalChoice) -> None:
        self._scope, self._other, self._tracked = scope, other, TrackedRuns()

    @property
    def remarks(self) -> Sequence[str]:
        """As `TrackedRuns` has them."""
        return self._tracked.remarks

    def find(self, _scope: Scope) -> list[CandidateRun]:
        """Both, whatever is asked for."""
        others = self._tracked.find(replace(self._scope, campaign=self._other.campaign, phases=None))
        return [*self._tracked.find(self._scope), *(run for run in others if run.config_id == self._other.config_id)]

    def pictures(self, runs: Sequence[CandidateRun]) -> dict[str, PictureResults]:
        """As `TrackedRuns` has them."""
        return self._tracked.pictures(runs)


def _recorded(ground: CampaignContext, phase: Phase, decision: Decision) -> str | None:
    """The run that holds this very decision already."""
    for run in runs_of_campaign(ground.id, ("select",)):
        if run.status == "FINISHED" and (run.tags.get("phase"), run.tags.get("decision")) == (phase.name, decision.key):
            return run.run_id
    return None


def _write(ground: CampaignContext, phase: Phase, decision: Decision) -> str:
    def open_run(_name: str) -> Recorder:
        recorder = start_child_run(
            ground.parent.recorder.run_id, ground.parent.experiment, f"select {phase.name}", "select"
        )
        recorder.record(Tags({"flowerml.phase": phase.name, "flowerml.plan": ground.plan.name}))
        return recorder

    return record_decision(decision, open_run, None).run_id or ""


def _said(
    ground: CampaignContext, phase: Phase, decision: Decision, picked: tuple[PromotedConfig, ...]
) -> tuple[str, ...]:
    """The decision in the plan's names."""
    names = {
        one.configuration.label: ground.plan.runs[int(one.configuration.plan_order) - 1].called
        for one in decision.standings
        if one.configuration.runs[0].campaign == ground.id
    }
    figures = [
        f"{choice.name} ({standing.accuracy.mean:.4f})"
        for choice, standing in zip(picked, decision.standings, strict=False)
    ]
    seeds = ", ".join(map(str, decision.scope.seeds))
    over = f"the mean over seeds {seeds}" if len(decision.scope.seeds) > 1 else f"seed {seeds}"
    goes = "goes on" if len(picked) == 1 else "go on"
    first = (
        f"{' and '.join(figures)} {goes}, by validation accuracy with {over}, of {len(decision.standings)}"
        " configurations"
    )
    rest = (
        [_renamed(sentence, names) for sentence in decision.sentences[1:3]] if decision.comparison is not None else []
    )
    left_out = [
        f"{_renamed(one.label, names)} can't be ranked: {'; '.join(one.reasons)}"
        for one in decision.ineligible
        if any(run.status != "FINISHED" for run in one.runs)
    ]
    return (first, *rest, *left_out, *decision.remarks)


def _renamed(sentence: str, names: dict[str, str]) -> str:
    for label, name in names.items():
        sentence = sentence.replace(label, name)
    return sentence
