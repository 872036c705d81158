"""The scheduler as a pure function: gates, retries, restarts, budgets."""

import random
from dataclasses import replace

import pytest

from flowerml.campaign.plan.model import PhaseKind
from flowerml.campaign.plan.parser import read_plan
from flowerml.campaign.state.scheduler import ActionKind, RunState, next_action, phase_status
from flowerml.campaign.status import PhaseStatus, RunStatus
from tests.campaign.plans import SMALL, changed, plan_of

FINISHED = RunState(RunStatus.FINISHED, delivered=True)
RUNNING = RunState(RunStatus.RUNNING)
PLAN = plan_of(SMALL)


def failed(times, *, delivered=True):
    return RunState(RunStatus.FAILED, failures=times, delivered=delivered)


def finished(*phases, plan=PLAN):
    return {run.name: FINISHED for name in phases for run in plan.phase(name).runs}


def step(states, decided=(), **more):
    found = next_action(PLAN, states, set(decided), **more)
    return found.kind, found.phase, found.runs


def test_smoke_tests_come_first_and_alone():
    assert step({}) == (ActionKind.RUN, "A", ("A1", "A2"))
    assert step({"A1": RUNNING}) == (ActionKind.RUN, "A", ("A2",))
    assert step({"A1": FINISHED, "A2": RUNNING}) == (ActionKind.WAIT, "A", ("A2",))
    assert step(finished("A")) == (ActionKind.RUN, "B", ("B1", "B2", "B3"))


def test_no_run_before_the_phase_before_it_is_decided():
    states = finished("A", "B")
    assert step(states) == (ActionKind.DECIDE, "B", ())
    assert step(states, "B") == (ActionKind.RUN, "C", ("C1", "C2", "C3", "C4"))


def test_no_phase_closes_before_its_journals_are_delivered():
    states = {**finished("A", "B"), "B2": RunState(RunStatus.FINISHED, delivered=False)}
    assert step(states) == (ActionKind.DELIVER, "B", ("B2",))
    states = {"A1": FINISHED, "A2": RunState(RunStatus.FINISHED)}
    assert step(states) == (ActionKind.DELIVER, "A", ("A2",))


@pytest.mark.parametrize("status", [RunStatus.TODO, RunStatus.INTERRUPTED])
def test_what_was_interrupted_goes_on(status):
    states = {**finished("A"), "B1": FINISHED, "B2": RunState(status)}
    assert step(states) == (ActionKind.RUN, "B", ("B2", "B3"))


def test_a_failed_run_is_tried_as_often_as_the_budget_says():
    once = {**finished("A", "B"), "B2": failed(1)}
    assert step(once) == (ActionKind.RUN, "B", ("B2",))
    assert step({**once, "B2": failed(2)}) == (ActionKind.DECIDE, "B", ())  # the decision says that it is not eligible


def test_a_failing_smoke_test_stops_the_campaign_at_once():
    found = next_action(PLAN, {"A1": failed(1, delivered=False)}, set())
    assert (found.kind, found.runs) == (ActionKind.STOP, ("A1",))
    assert "a smoke test failed" in found.reason


def test_a_failing_final_model_stops_the_campaign_after_the_other_one():
    states = {**finished("A", "B", "C", "D"), "F1": failed(2)}
    assert step(states, "BCD") == (ActionKind.RUN, "F", ("F2",))
    assert step({**states, "F2": FINISHED}, "BCD") == (ActionKind.STOP, "F", ("F1",))


def test_everything_done():
    states = finished("A", "B", "C", "D", "F")
    assert step(states, "BCD") == (ActionKind.DONE, "", ())


def test_a_phase_without_a_choice_closes_when_its_runs_are_delivered():
    plan = plan_of(
        changed("    select: {top: 1, by: val_accuracy}\n  F", "  F").replace(
            "of: [C, D]}\n    runs: [F1, F2]", "of: [C]}\n    runs: [F1]"
        )
    )
    states = finished("A", "B", "C", "D", plan=plan)
    assert next_action(plan, states, {"B", "C"}).phase == "F"


def test_a_budget_of_hours_lets_nothing_start_and_says_so():
    plan = plan_of(changed("tries: 2}", "tries: 2, hours: 1.5}"))
    states = finished("A")
    assert next_action(plan, states, set(), spent_hours=1.4).kind is ActionKind.RUN
    running = next_action(plan, {**states, "B1": RUNNING}, set(), spent_hours=1.6)
    assert (running.kind, running.runs) == (ActionKind.WAIT, ("B1",))
    over = next_action(plan, states, set(), spent_hours=1.6)
    assert over.kind is ActionKind.STOP
    assert "the budget of 1.5 hours is used up (1.60): raise budget.hours in plan.yaml" in over.reason
    done = finished("A", "B", "C", "D", "F", plan=plan)
    assert next_action(plan, done, {"B", "C", "D"}, spent_hours=9).kind is ActionKind.DONE


def test_status_of_phases():
    states = {**finished("A"), "B1": RUNNING}
    assert [phase_status(PLAN, phase, states, set()) for phase in PLAN.phases] == [
        PhaseStatus.CLOSED,
        PhaseStatus.OPEN,
        *[PhaseStatus.WAITING] * 3,
    ]
    assert phase_status(PLAN, PLAN.phase("B"), finished("A", "B"), set()) is PhaseStatus.DELIVERING


@pytest.mark.parametrize("name", ["tp3", "tp3_reduced", "demo"])
@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_every_run_ends_once_and_in_its_phase(name, seed):
    """Up to three at a time, each ending, failing, or cut off with all others when the runner is killed and started
    again.
    """
    plan, draw = read_plan(name), random.Random(seed)
    states, decided, order, finished_runs = {}, set(), [], []
    for _ in range(10_000):
        found = next_action(plan, states, decided)
        running = [run for run, state in states.items() if state.status is RunStatus.RUNNING]
        if found.kind is ActionKind.DONE:
            break
        assert found.kind is not ActionKind.STOP
        before = plan.phases[: plan.phases.index(plan.phase(found.phase))]
        assert all(
            states[run.name].status is RunStatus.FINISHED or states[run.name].failures == 2
            for one in before
            for run in one.runs
        )
        assert all(states[run.name].delivered for one in before for run in one.runs)
        if found.kind is ActionKind.DECIDE:
            assert not running
            decided.add(found.phase)
        elif found.kind is ActionKind.DELIVER:
            assert not running
            states[found.runs[0]] = replace(states[found.runs[0]], delivered=True)
        elif draw.random() < 0.1:  # killed
            states |= {run: replace(states[run], status=RunStatus.INTERRUPTED) for run in running}
        elif found.kind is ActionKind.RUN and len(running) < 3:
            first = found.runs[0]
            if first not in order:
                order.append(first)
            states[first] = replace(states.get(first, RunState()), status=RunStatus.RUNNING)
        else:
            run = draw.choice(running)
            phase = plan.phase(plan.run(run).phase)
            fails = phase.kind not in (PhaseKind.SMOKE, PhaseKind.FINAL) and draw.random() < 0.2
            state = states[run]
            ended = (
                replace(state, status=RunStatus.FAILED, failures=state.failures + 1)
                if fails
                else replace(state, status=RunStatus.FINISHED)
            )
            states[run] = ended
            finished_runs += [] if fails else [run]
    assert found.kind is ActionKind.DONE
    assert order == [run.name for run in plan.runs]  # in the plan's order, each
    assert len(finished_runs) == len(set(finished_runs))
    assert all(states[run.name].status is RunStatus.FINISHED or states[run.name].failures == 2 for run in plan.runs)
    assert decided == {phase.name for phase in plan.phases if phase.select}
