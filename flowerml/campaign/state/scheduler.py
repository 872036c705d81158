"""The next action of a campaign from the states of its runs: a pure function, so a restart changes nothing.

Phases are strictly sequential. A phase opens when all earlier ones are closed; it closes when all its runs have ended
for good, their journals are delivered to the tracking server, and its decision, if it has one, is made.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from enum import StrEnum

from flowerml.campaign.plan.model import Phase, PhaseKind, Plan
from flowerml.campaign.status import PhaseStatus, RunStatus


@dataclass(frozen=True)
class RunState:
    """State of a run: its failed attempts so far, and whether the tracking server has all of its journal.

    `reason` says why it is skipped.
    """

    status: RunStatus = RunStatus.TODO
    failures: int = 0
    delivered: bool = False
    reason: str = ""


class ActionKind(StrEnum):
    """Kinds of actions."""

    RUN = "run"  # start these runs, as far as slots are free; some may be running already
    WAIT = "wait"  # for the running ones
    DELIVER = "deliver"  # the journals of these runs, before the phase can close
    DECIDE = "decide"  # at the end of the phase: promote configurations
    STOP = "stop"  # the campaign has failed for the reason
    DONE = "done"


@dataclass(frozen=True)
class NextAction:
    """What to do next, in which phase, with which runs."""

    kind: ActionKind
    phase: str = ""
    runs: tuple[str, ...] = ()
    reason: str = ""


def next_action(plan: Plan, states: Mapping[str, RunState], decided: Set[str], spent_hours: float = 0.0) -> NextAction:
    """What to do next. `states` by run name (missing: not begun), `decided`: the phases with a decision."""
    for phase in plan.phases:
        status = phase_status(plan, phase, states, decided)
        if status is PhaseStatus.CLOSED:
            continue
        if status is PhaseStatus.DELIVERING:
            waiting = tuple(run.name for run in phase.runs if not _state_of(states, run.name).delivered)
            if waiting:
                return NextAction(ActionKind.DELIVER, phase.name, waiting)
            if failed := _failed_blocking_runs(plan, phase, states):
                return NextAction(ActionKind.STOP, phase.name, failed, _stop_reason(phase))
            return NextAction(ActionKind.DECIDE, phase.name)
        return _next_action_in(plan, phase, states, spent_hours)
    return NextAction(ActionKind.DONE)


def phase_status(plan: Plan, phase: Phase, states: Mapping[str, RunState], decided: Set[str]) -> PhaseStatus:
    """The status of a phase."""
    before = plan.phases[: plan.phases.index(phase)]
    if any(phase_status(plan, earlier, states, decided) is not PhaseStatus.CLOSED for earlier in before[-1:]):
        return PhaseStatus.WAITING
    if not all(has_ended(plan, phase, _state_of(states, run.name)) for run in phase.runs):
        return PhaseStatus.OPEN
    complete = all(_state_of(states, run.name).delivered for run in phase.runs) and not _failed_blocking_runs(
        plan, phase, states
    )
    return (
        PhaseStatus.CLOSED if complete and (phase.select is None or phase.name in decided) else PhaseStatus.DELIVERING
    )


def max_attempts(plan: Plan, phase: Phase) -> int:
    """Attempts of a run until it has failed for good. A smoke test has one: it is there to fail at once."""
    return 1 if phase.kind is PhaseKind.SMOKE else plan.budget.tries


def has_ended(plan: Plan, phase: Phase, state: RunState) -> bool:
    """Whether a run has ended for good: finished, skipped, or failed in its last attempt."""
    return state.status in (RunStatus.FINISHED, RunStatus.SKIPPED) or (
        state.status is RunStatus.FAILED and state.failures >= max_attempts(plan, phase)
    )


def _next_action_in(plan: Plan, phase: Phase, states: Mapping[str, RunState], spent_hours: float) -> NextAction:
    """What to do in the open phase."""
    running = tuple(run.name for run in phase.runs if _state_of(states, run.name).status is RunStatus.RUNNING)
    if phase.kind is PhaseKind.SMOKE and (failed := _failed_blocking_runs(plan, phase, states)):
        return NextAction(ActionKind.STOP, phase.name, failed, _stop_reason(phase))
    waiting = tuple(
        run.name
        for run in phase.runs
        if run.name not in running and not has_ended(plan, phase, _state_of(states, run.name))
    )
    if waiting and plan.budget.hours is not None and spent_hours >= plan.budget.hours:
        if running:
            return NextAction(ActionKind.WAIT, phase.name, running)
        used = f"the budget of {plan.budget.hours:g} hours is used up ({spent_hours:.2f})"
        reason = f"{used}: raise budget.hours in {plan.file}, or leave it out, and start again; what is finished stays"
        return NextAction(ActionKind.STOP, phase.name, (), reason)
    return (
        NextAction(ActionKind.RUN, phase.name, waiting) if waiting else NextAction(ActionKind.WAIT, phase.name, running)
    )


def _failed_blocking_runs(plan: Plan, phase: Phase, states: Mapping[str, RunState]) -> tuple[str, ...]:
    """Smoke tests and final models that have failed for good: the campaign stops.

    Other failed runs do not block: the decision lists their configurations as not eligible.
    """
    if phase.kind not in (PhaseKind.SMOKE, PhaseKind.FINAL):
        return ()
    states_of = {run.name: _state_of(states, run.name) for run in phase.runs}
    return tuple(
        name for name, state in states_of.items() if state.status is RunStatus.FAILED and has_ended(plan, phase, state)
    )


def _stop_reason(phase: Phase) -> str:
    what = "a smoke test" if phase.kind is PhaseKind.SMOKE else "a final model"
    return f"{what} failed, and nothing follows phase {phase.name} without it: mend the cause and start again"


def _state_of(states: Mapping[str, RunState], name: str) -> RunState:
    return states.get(name, RunState())
