"""From a decision to the configurations that go on, and from those to the settings of the runs that follow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flowerml.campaign.plan.model import FinalMode, Phase, Plan, PlanRun
from flowerml.errors import UserError
from flowerml.selection.decision import Decision
from flowerml.selection.rank import Standing, best_run
from flowerml.selection.records import Scope
from flowerml.settings import Settings, resolve


@dataclass(frozen=True)
class PromotedConfig:
    """A configuration that was chosen: the plan's name of it (of the run it was selected on), its settings, the mean of
    its seeds' best epochs (1-based, rounded half up), and the run of its best seed by name, id and seed.
    """

    name: str
    settings: Settings
    stop_epoch: int
    best_run: str
    best_run_id: str
    best_seed: int


Promotions = Mapping[str, Sequence[PromotedConfig]]  # by phase, the best first


def scope_of(plan: Plan, phase: Phase, campaign: str) -> Scope:
    """Which runs a phase's decision is made among: its own, and those of the phases whose configurations it confirms,
    of this campaign.
    """
    chain = plan.ancestors(phase)
    runs = [run for ancestor in chain for run in ancestor.runs]
    return Scope(
        seeds=tuple(dict.fromkeys(run.seed for run in runs)),
        family=runs[0].family.value,
        campaign=campaign,
        phases=tuple(ancestor.name for ancestor in chain),
    )


def promote(
    plan: Plan,
    phase: Phase,
    decision: Decision,
    choices: Promotions,
    others: Mapping[str, PromotedConfig] | None = None,
) -> tuple[PromotedConfig, ...]:
    """The first places of a decision, as many as the phase lets go on. `others`: by config_id, what is of another
    plan's campaign.

    Raises:
        UserError: fewer configurations are eligible than are to go on.
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
        (others or {}).get(standing.configuration.config_id) or _choice(plan, standing, choices)
        for standing in decision.standings[: phase.select.top]
    )


def _choice(plan: Plan, standing: Standing, choices: Promotions) -> PromotedConfig:
    runs = standing.configuration.runs
    first = plan.runs[int(standing.configuration.plan_order) - 1]
    best = best_run(runs)
    return PromotedConfig(
        name=_origin(first, choices),
        settings=first.settings or settings_of(plan, first, choices),
        stop_epoch=mean_rounded([run.best_epoch or 1 for run in runs]),
        best_run=best.run_name,
        best_run_id=best.run_id,
        best_seed=best.seed,
    )


def _origin(run: PlanRun, choices: Promotions) -> str:
    """The plan's name of a run's configuration."""
    return run.called if run.source is None else choices[run.source.phase][run.source.place - 1].name


def settings_of(plan: Plan, run: PlanRun, choices: Promotions) -> Settings:
    """The settings of a run, complete but for folders and names.

    A retrained final model has all pictures (`val_split` 0), the schedule of its configuration, no early stopping, and
    ends at `stop_epoch`; one that is kept has those of the run it is of.

    Raises:
        UserError: what a phase changes does not fit its configuration.
    """
    if run.settings is not None:
        return run.settings
    assert run.source is not None
    source, phase = choices[run.source.phase][run.source.place - 1], plan.phase(run.phase)
    if phase.confirm is not None:
        asked = {**source.settings.model_dump(), **phase.confirm.changes, "seed": run.seed}
        try:
            return resolve(asked)[0]
        except UserError as error:
            raise UserError(f"{plan.file}, line {run.line}: run {run.name}: {error}") from error
    assert phase.final is not None
    if phase.final.mode is FinalMode.KEEP_BEST:
        return source.settings.replace(seed=source.best_seed)
    return source.settings.replace(
        val_split=0.0, seed=run.seed, patience=0, stop_epoch=min(source.stop_epoch, source.settings.epochs)
    )


def mean_rounded(epochs: Sequence[int]) -> int:
    """The mean of whole numbers, halves rounded up."""
    return (2 * sum(epochs) + len(epochs)) // (2 * len(epochs))
