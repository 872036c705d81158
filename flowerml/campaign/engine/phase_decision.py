"""Decide a phase: rank the campaign's runs as `flowerml select` does, and record the decision once."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace

from flowerml.campaign.engine.context import CampaignContext
from flowerml.campaign.plan.model import Phase
from flowerml.campaign.report.snapshot import DecisionSummary
from flowerml.campaign.state.external_choice import ExternalChoice
from flowerml.campaign.state.promotion import PromotedConfig, Promotions, decision_scope, promote
from flowerml.events import Recorder, Tags
from flowerml.runs.select import record_decision, select_configuration
from flowerml.selection.decision import Decision
from flowerml.selection.gains import gain_cells
from flowerml.selection.records import CandidateRun, PictureResults, Scope, seeds_in_words
from flowerml.tracking import TrackedRuns, start_child_run
from flowerml.tracking.search.campaigns import runs_of_campaign
from flowerml.translation import ENGLISH, Translation, translation

logger = logging.getLogger(__name__)


def decide_phase(
    context: CampaignContext, phase: Phase, promotions: Promotions, skipped: Collection[str] = ()
) -> tuple[tuple[PromotedConfig, ...], DecisionSummary]:
    """The promoted configurations of a phase, and the summary of its decision.

    Idempotent: after a restart the decision is the same, and its record is found again. `skipped` are runs that did not
    fit before the deadline.

    Raises:
        UserError: too few configurations can be ranked, or the tracking server is unreachable.
    """
    scope, texts = decision_scope(context.plan, phase, context.id, skipped), translation(context.options.language)
    external = context.external_choices.get(phase.confirm.of) if phase.confirm else None
    if external is None:
        decision = select_configuration(scope, TrackedRuns())
        promoted = promote(context.plan, phase, decision, promotions)
    else:  # the unchanged configuration is a candidate too
        decision = select_configuration(replace(scope, campaign=None, phases=None), CombinedRunSource(scope, external))
        promoted = promote(context.plan, phase, decision, promotions, {external.config_id: external.config})
    summary = DecisionSummary(
        phase=phase.name,
        decision=decision,
        chosen=tuple(config.name for config in promoted),
        highlights=(*_make_highlights(context, decision, promoted, texts), *_skipped_in_words(phase, skipped, texts)),
        base=(phase.select.base or "") if phase.select else "",
        gains=tuple(
            gain_cells(context.plan.runs[int(gain.configuration.plan_order) - 1].config_name, gain, texts)
            for gain in decision.gains
        ),
        run_id=_find_recorded_decision(context, phase, decision) or _record_decision(context, phase, decision),
    )
    for line in (
        *_make_highlights(context, decision, promoted, ENGLISH),
        *_skipped_in_words(phase, skipped, ENGLISH),
    ):
        logger.info(f"phase {phase.name}: {line}")
    return promoted, summary


class CombinedRunSource:
    """The runs of a scope, and those of one configuration of another campaign."""

    def __init__(self, scope: Scope, external: ExternalChoice) -> None:
        self._scope, self._external, self._tracked = scope, external, TrackedRuns()

    @property
    def remarks(self) -> Sequence[str]:
        """As `TrackedRuns` has them."""
        return self._tracked.remarks

    def find(self, _scope: Scope) -> list[CandidateRun]:
        """The runs of both, whatever the scope."""
        others = self._tracked.find(replace(self._scope, campaign=self._external.campaign, phases=None))
        return [*self._tracked.find(self._scope), *(run for run in others if run.config_id == self._external.config_id)]

    def pictures(self, runs: Sequence[CandidateRun]) -> dict[str, PictureResults]:
        """As `TrackedRuns` has them."""
        return self._tracked.pictures(runs)


def _find_recorded_decision(context: CampaignContext, phase: Phase, decision: Decision) -> str | None:
    """The id of the run that this decision was recorded in already."""
    for run in runs_of_campaign(context.id, ("select",)):
        if run.status == "FINISHED" and (run.tags.get("phase"), run.tags.get("decision")) == (phase.name, decision.key):
            return run.run_id
    return None


def _record_decision(context: CampaignContext, phase: Phase, decision: Decision) -> str:
    def open_run(_name: str) -> Recorder:
        recorder = start_child_run(
            context.parent.recorder.run_id, context.parent.experiment, f"select {phase.name}", "select"
        )
        recorder.record(Tags({"flowerml.phase": phase.name, "flowerml.plan": context.plan.name}))
        return recorder

    return record_decision(decision, open_run, None).run_id or ""


def _make_highlights(
    context: CampaignContext, decision: Decision, promoted: tuple[PromotedConfig, ...], texts: Translation
) -> tuple[str, ...]:
    """Sentences about the decision, with the plan's names of the configurations.

    Why a configuration could not be ranked, and remarks, are messages about runs: English in every language.
    """
    _ = texts.gettext
    names = {
        standing.configuration.label: context.plan.runs[int(standing.configuration.plan_order) - 1].config_name
        for standing in decision.standings
        if standing.configuration.runs[0].campaign == context.id
    }
    figures = [
        f"{config.name} ({standing.accuracy.mean:.4f})"
        for config, standing in zip(promoted, decision.standings, strict=False)
    ]
    runs = decision.standings[0].configuration.runs
    seeds = seeds_in_words(runs, texts)
    first = texts.ngettext(
        "{names} goes on, by validation accuracy with {over}, of {count} configurations",
        "{names} go on, by validation accuracy with {over}, of {count} configurations",
        len(promoted),
        names=_(" and ").join(figures),
        over=_("the mean over {seeds}", seeds=seeds) if len(runs) > 1 else seeds,
        count=len(decision.standings),
    )
    rest = (
        [_replace_labels(sentence, names) for sentence in decision.explain(texts)[1:3]]
        if decision.comparison is not None
        else []
    )
    left_out = [
        _("{name} can't be ranked: {reasons}", name=_replace_labels(one.label, names), reasons="; ".join(one.reasons))
        for one in decision.ineligible
        if any(run.status != "FINISHED" for run in one.runs)
    ]
    return (first, *rest, *left_out, *decision.remarks)


def _skipped_in_words(phase: Phase, skipped: Collection[str], texts: Translation) -> tuple[str, ...]:
    """A sentence about the runs of a phase that did not fit before the deadline, if there are any."""
    names = [run.name for run in phase.runs if run.name in skipped]
    if not names:
        return ()
    sentence = texts.ngettext(
        "{names} was skipped: it did not fit before the deadline",
        "{names} were skipped: they did not fit before the deadline",
        len(names),
        names=", ".join(names),
    )
    return (sentence,)


def _replace_labels(sentence: str, names: dict[str, str]) -> str:
    for label, name in names.items():
        sentence = sentence.replace(label, name)
    return sentence
