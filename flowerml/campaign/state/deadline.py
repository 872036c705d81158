"""Which runs of a campaign still fit before its deadline, in the plan's order: a pure function of estimated durations.

What makes the champions is kept free first: smoke tests, as many configurations as a phase promotes, confirming seeds,
final models. Where that does not fit either, confirming seeds are given up, the last of each phase first.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from flowerml.campaign.plan.model import Phase, PhaseKind, Plan, PlanRun
from flowerml.campaign.state.scheduler import RunState, has_ended
from flowerml.campaign.status import RunStatus
from flowerml.human_units import duration

_MARGIN = 1.1  # on estimates, where a run has not begun
_DELIVERY_S = 20.0  # decisions, registration, export with its checks


@dataclass(frozen=True)
class DoesNotFit:
    """Why a run is skipped, in seconds: what it takes, what is kept for the champions, what is left."""

    seconds: float
    reserved: float
    left: float

    def __str__(self) -> str:
        """As a sentence: a message about a run, in English like other reasons."""
        return (
            f"skipped for the deadline: it takes about {duration(self.seconds)}, and of the"
            f" {duration(max(0.0, self.left))} left the champions need {duration(self.reserved)}"
        )


def runs_that_do_not_fit(
    plan: Plan, states: Mapping[str, RunState], seconds: Mapping[str, float], left: float, slots: int
) -> dict[str, DoesNotFit]:
    """The runs that have not ended and do not fit, by name.

    `seconds` are those that each run still takes (missing: none), `left` those before the deadline, `slots` the number
    of runs at a time.
    """
    pending = {
        run.name: run
        for phase in plan.phases
        for run in phase.runs
        if not has_ended(plan, phase, states.get(run.name, RunState()))
    }
    names = _Durations(plan, seconds, slots)
    free = left - (_DELIVERY_S if any(phase.kind is PhaseKind.FINAL for phase in plan.phases) else 0.0)
    kept = _essential(plan, states, pending)
    for dropped in _confirming_seeds(plan, pending):
        if _MARGIN * names.together(kept) <= free:
            break
        kept -= dropped
    reserved = names.together(kept)
    for unit in _configurations(plan, pending):
        if unit <= kept:
            continue
        is_running = any(states.get(name, RunState()).status is RunStatus.RUNNING for name in unit)
        if names.together(kept | unit) * (1.0 if is_running else _MARGIN) <= free:
            kept |= unit
    return {name: DoesNotFit(seconds.get(name, 0.0), reserved, left) for name in pending if name not in kept}


@dataclass(frozen=True)
class _Durations:
    plan: Plan
    seconds: Mapping[str, float]
    slots: int

    def together(self, names: Collection[str]) -> float:
        """Seconds of these runs, phase after phase."""
        return sum(
            self._of_phase([self.seconds.get(run.name, 0.0) for run in phase.runs if run.name in names])
            for phase in self.plan.phases
        )

    def _of_phase(self, seconds: Sequence[float]) -> float:
        slots = max(1, min(self.slots, len(seconds)))
        return max([sum(seconds) / slots, *seconds])


def _essential(plan: Plan, states: Mapping[str, RunState], pending: Mapping[str, PlanRun]) -> set[str]:
    """Pending runs without which there are no champions as the plan wants them."""
    found: set[str] = set()
    for phase in plan.phases:
        names = [run.name for run in phase.runs if run.name in pending]
        if phase.kind is not PhaseKind.SELECT:
            found.update(names)
            continue
        units = _units(phase, phase.runs)
        finished = sum(
            all(states.get(name, RunState()).status is RunStatus.FINISHED for name in unit) for unit in units
        )
        missing = max(0, (phase.select.top if phase.select else 0) - finished)
        begun = {name for name in names if states.get(name, RunState()).status is not RunStatus.TODO}
        open_units = [unit & pending.keys() for unit in units if unit & pending.keys()]
        in_order = sorted(open_units, key=lambda unit: not unit & begun)  # stable: the plan's order otherwise
        found.update(name for unit in in_order[:missing] for name in unit)
    return found


def _configurations(plan: Plan, pending: Mapping[str, PlanRun]) -> list[set[str]]:
    """The pending runs of each configuration of a selection, in the plan's order: it is ranked on all its seeds."""
    return [
        unit & pending.keys()
        for phase in plan.phases
        if phase.kind is PhaseKind.SELECT
        for unit in _units(phase, phase.runs)
        if unit & pending.keys()
    ]


def _units(phase: Phase, runs: Sequence[PlanRun]) -> list[set[str]]:
    names = dict.fromkeys(run.config_name for run in runs)
    return [{run.name for run in phase.runs if run.config_name == name} for name in names]


def _confirming_seeds(plan: Plan, pending: Mapping[str, PlanRun]) -> list[set[str]]:
    """The pending runs of the last seed of every confirming phase, then those of the last but one, and so on.

    A phase that trains another way than the one it confirms (other settings, folds, another plan's winner) keeps its
    first seed: its decision has no other runs.
    """
    confirming = [phase for phase in plan.phases if phase.confirm is not None]
    found: list[set[str]] = []
    for level in range(1, 1 + max((len(phase.confirm.seeds) for phase in confirming if phase.confirm), default=0)):
        dropped: set[str] = set()
        for phase in confirming:
            confirm = phase.confirm
            assert confirm is not None
            least = 1 if confirm.changes or confirm.folds or confirm.external else 0
            if level <= len(confirm.seeds) - least:
                seed = confirm.seeds[-level]
                dropped |= {run.name for run in phase.runs if run.seed == seed and run.name in pending}
        found.append(dropped)
    return found
