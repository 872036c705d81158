"""What a campaign does next, given how its runs stand: a pure function, so that it answers the same after every
restart.

Gates are strict. A phase's runs may run when every phase before it is closed; it closes when all its runs have ended
for good, their journals are with the tracking server, and, where it chooses, the choice is made.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from enum import StrEnum

from flowerml.campaign.plan.model import Phase, PhaseKind, Plan
from flowerml.campaign.status import PhaseStatus, RunStatus


@dataclass(frozen=True)
class RunState:
    """How a run stands. `failures`: how often it has failed in its tries so far. `delivered`: its journal is with the
    tracking server.
    """

    status: RunStatus = RunStatus.TODO
    failures: int = 0
    delivered: bool = False


class Action(StrEnum):
    """What is to be done next."""

    RUN = "run"  # start these runs, as far as there is room; some may be running already
    WAIT = "wait"  # for what is running
    DELIVER = "deliver"  # these runs' journals, before the phase can close
    DECIDE = "decide"  # choose at the end of the phase
    STOP = "stop"  # the campaign has failed, for the reason
    DONE = "done"


@dataclass(frozen=True)
class NextAction:
    """What is to be done next, in which phase, with which runs."""

    action: Action
    phase: str = ""
    runs: tuple[str, ...] = ()
    reason: str = ""


def next_action(plan: Plan, states: Mapping[str, RunState], decided: Set[str], spent_hours: float = 0.0) -> NextAction:
    """What to do next. `states` by run (one that is missing is to do), `decided` are the phases whose choice is made."""
    for phase in plan.phases:
        status = phase_status(plan, phase, states, decided)
        if status is PhaseStatus.CLOSED:
            continue
        if status is PhaseStatus.DELIVERING:
            waiting = tuple(run.name for run in phase.runs if not _state(states, run.name).delivered)
            if waiting:
                return NextAction(Action.DELIVER, phase.name, waiting)
            if lost := _lost(plan, phase, states):
                return NextAction(Action.STOP, phase.name, lost, _why_stopped(phase))
            return NextAction(Action.DECIDE, phase.name)
        return _within(plan, phase, states, spent_hours)
    return NextAction(Action.DONE)


def phase_status(plan: Plan, phase: Phase, states: Mapping[str, RunState], decided: Set[str]) -> PhaseStatus:
    """How a phase stands."""
    before = plan.phases[: plan.phases.index(phase)]
    if any(phase_status(plan, one, states, decided) is not PhaseStatus.CLOSED for one in before[-1:]):
        return PhaseStatus.WAITING
    if not all(ended(plan, phase, _state(states, run.name)) for run in phase.runs):
        return PhaseStatus.OPEN
    complete = all(_state(states, run.name).delivered for run in phase.runs) and not _lost(plan, phase, states)
    return (
        PhaseStatus.CLOSED if complete and (phase.select is None or phase.name in decided) else PhaseStatus.DELIVERING
    )


def tries(plan: Plan, phase: Phase) -> int:
    """How often a run is tried at most. A smoke test is there to fail at once."""
    return 1 if phase.kind is PhaseKind.SMOKE else plan.budget.tries


def ended(plan: Plan, phase: Phase, state: RunState) -> bool:
    """Whether a run has ended for good."""
    return state.status is RunStatus.FINISHED or (
        state.status is RunStatus.FAILED and state.failures >= tries(plan, phase)
    )


def _within(plan: Plan, phase: Phase, states: Mapping[str, RunState], spent_hours: float) -> NextAction:
    """What to do in the open phase."""
    running = tuple(run.name for run in phase.runs if _state(states, run.name).status is RunStatus.RUNNING)
    if phase.kind is PhaseKind.SMOKE and (lost := _lost(plan, phase, states)):
        return NextAction(Action.STOP, phase.name, lost, _why_stopped(phase))
    waiting = tuple(
        run.name for run in phase.runs if run.name not in running and not ended(plan, phase, _state(states, run.name))
    )
    if waiting and plan.budget.hours is not None and spent_hours >= plan.budget.hours:
        if running:
            return NextAction(Action.WAIT, phase.name, running)
        used = f"the budget of {plan.budget.hours:g} hours is used up ({spent_hours:.2f})"
        reason = f"{used}: raise budget.hours in {plan.file}, or leave it out, and start again; what is finished stays"
        return NextAction(Action.STOP, phase.name, (), reason)
    return NextAction(Action.RUN, phase.name, waiting) if waiting else NextAction(Action.WAIT, phase.name, running)


def _lost(plan: Plan, phase: Phase, states: Mapping[str, RunState]) -> tuple[str, ...]:
    """Runs without which the campaign can't go on and that have failed for good: smoke tests, final models.

    Of those between them a decision can do without some: it says which configurations are not eligible, and why.
    """
    if phase.kind not in (PhaseKind.SMOKE, PhaseKind.FINAL):
        return ()
    states_of = {run.name: _state(states, run.name) for run in phase.runs}
    return tuple(
        name for name, state in states_of.items() if state.status is RunStatus.FAILED and ended(plan, phase, state)
    )


def _why_stopped(phase: Phase) -> str:
    what = "a smoke test" if phase.kind is PhaseKind.SMOKE else "a final model"
    return f"{what} failed, and nothing follows phase {phase.name} without it: mend the cause and start again"


def _state(states: Mapping[str, RunState], name: str) -> RunState:
    return states.get(name, RunState())
