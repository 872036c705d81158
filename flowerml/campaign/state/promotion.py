"""Promotion: from a decision to the promoted configurations, and from these to the settings of dependent runs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from flowerml.campaign.plan.model import FinalMode, Phase, Plan, PlanRun
from flowerml.errors import UserError
from flowerml.selection.decision import Decision
from flowerml.selection.rank import Standing, best_run
from flowerml.selection.records import Rule, Scope
from flowerml.settings import Settings, resolve


@dataclass(frozen=True)
class PromotedConfig:
    """A promoted configuration.

    `name` is the plan's, of the run it was selected on; `stop_epoch` the mean of its seeds' best epochs (1-based,
    rounded half up); `best_run`, `best_run_id` and `best_seed` are those of its best run. `runs` are the names and ids
    of its runs on all seeds; empty for one of another plan's campaign.
    """

    name: str
    settings: Settings
    stop_epoch: int
    best_run: str
    best_run_id: str
    best_seed: int
    runs: tuple[tuple[str, str], ...] = ()


Promotions = Mapping[str, Sequence[PromotedConfig]]  # by phase, the best first


def decision_scope(plan: Plan, phase: Phase, campaign: str, skipped: Collection[str] = ()) -> Scope:
    """The runs that a phase's decision compares: its own, and those of the phases it confirms, of this campaign.

    A seed of which a confirming run was `skipped` is left out: configurations are ranked on the same seeds.
    """
    chain = plan.ancestors(phase)
    runs = [run for ancestor in chain for run in ancestor.runs]
    missing = {run.seed for ancestor in chain if ancestor.confirm for run in ancestor.runs if run.name in skipped}
    return Scope(
        seeds=tuple(dict.fromkeys(run.seed for run in runs if run.seed not in missing)),
        family=runs[0].family.value,
        campaign=campaign,
        phases=tuple(ancestor.name for ancestor in chain),
        rule=phase.select.rule if phase.select else Rule.ACCURACY,
        base_order=_base_order(phase),
    )


def _base_order(phase: Phase) -> int | None:
    """The place in the plan of the first run of the configuration that gains are over."""
    base = phase.select.base if phase.select else None
    return None if base is None else min(run.order for run in phase.runs if run.config_name == base)


def promote(
    plan: Plan,
    phase: Phase,
    decision: Decision,
    promotions: Promotions,
    others: Mapping[str, PromotedConfig] | None = None,
) -> tuple[PromotedConfig, ...]:
    """The best configurations of a decision, as many as the phase promotes.

    `others` are candidates of another plan's campaign, by config_id.

    Raises:
        UserError: fewer configurations are eligible than the phase promotes.
    """
    assert phase.select is not None
    if len(decision.standings) < phase.select.top:
        left_out = [f"{one.label}: {'; '.join(one.reasons)}" for one in decision.ineligible]
        raise UserError(
            f"phase {phase.name} is to choose {phase.select.top}, and {len(decision.standings)} of its configurations"
            " can be ranked. Mend what kept the others from finishing, and start again with --retry",
            left_out,
        )
    return tuple(
        (others or {}).get(standing.configuration.config_id)
        or _promoted_config(plan, standing, promotions, phase.select.rule)
        for standing in decision.standings[: phase.select.top]
    )


def _promoted_config(plan: Plan, standing: Standing, promotions: Promotions, rule: Rule) -> PromotedConfig:
    runs = standing.configuration.runs
    first = plan.runs[int(standing.configuration.plan_order) - 1]
    best = best_run(runs, rule)
    return PromotedConfig(
        name=_config_name(first, promotions),
        settings=first.settings or resolve_settings(plan, first, promotions),
        stop_epoch=rounded_mean([run.best_epoch or 1 for run in runs]),
        best_run=best.run_name,
        best_run_id=best.run_id,
        best_seed=best.seed,
        runs=tuple((run.run_name, run.run_id) for run in runs),
    )


def _config_name(run: PlanRun, promotions: Promotions) -> str:
    """The plan's name of a run's configuration, which it may have been promoted with."""
    return run.config_name if run.source is None else promotions[run.source.phase][run.source.rank - 1].name


def resolve_settings(plan: Plan, run: PlanRun, promotions: Promotions) -> Settings:
    """The settings of a run, complete but for folders and names.

    A retrained final model has all images (`val_split` 0), its configuration's schedule, no early stopping, and ends at
    `stop_epoch`, or with its configuration's time limit (`max_minutes`), which fits the schedule anew; a kept or
    averaged one has the settings of the best run.

    Raises:
        UserError: the changes of a phase contradict its configuration.
    """
    if run.settings is not None:
        return run.settings
    assert run.source is not None
    source, phase = promotions[run.source.phase][run.source.rank - 1], plan.phase(run.phase)
    if phase.confirm is not None:
        values = {**source.settings.model_dump(), **phase.confirm.changes, "seed": run.seed}
        values |= {"folds": phase.confirm.folds, "fold": run.fold}
        try:
            return resolve(values)[0]
        except UserError as error:
            raise UserError(f"{plan.file}, line {run.line}: run {run.name}: {error}") from error
    assert phase.final is not None
    if phase.final.mode is not FinalMode.RETRAIN:
        return source.settings.replace(seed=source.best_seed)
    return source.settings.replace(
        val_split=0.0,
        folds=0,
        fold=None,
        seed=run.seed,
        patience=0,
        stop_epoch=None if source.settings.max_minutes else min(source.stop_epoch, source.settings.epochs),
    )


def rounded_mean(epochs: Sequence[int]) -> int:
    """The mean of integers, rounded half up."""
    return (2 * sum(epochs) + len(epochs)) // (2 * len(epochs))
