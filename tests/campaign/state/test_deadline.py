"""Which runs fit before a deadline, as a pure function: 10 seconds a run, 20 for the delivery."""

from dataclasses import replace

import pytest

from flowerml.campaign.plan.parser import read_plan
from flowerml.campaign.state.deadline import DoesNotFit, runs_that_do_not_fit
from flowerml.campaign.state.scheduler import ActionKind, RunState, next_action
from flowerml.campaign.status import RunStatus
from tests.campaign.plans import SMALL, changed, plan_of

PLAN = plan_of(SMALL)  # smoke A1 A2; B1 B2 B3, top 2; C1 to C4 on seeds 23 and 47, top 1; D1 D2, top 1; F1 F2
TEN = {run.name: 10.0 for run in PLAN.runs}
FINISHED = RunState(RunStatus.FINISHED, delivered=True)
DELIVERY = 20.1  # with room for rounding


def unfit(left, states=None, plan=PLAN, seconds=TEN, slots=1):
    return sorted(runs_that_do_not_fit(plan, states or {}, seconds, left, slots))


def finished(*names):
    return dict.fromkeys(names, FINISHED)


@pytest.mark.parametrize(
    ("runs", "skipped"),
    [
        (13, []),
        (12, ["D2"]),
        (11, ["B3", "D2"]),
        (10, ["C2", "C4", "D2"]),
        (9, ["B3", "C2", "C4", "D2"]),
        (8, ["C1", "C2", "C3", "C4", "D2"]),
        (7, ["B3", "C1", "C2", "C3", "C4", "D2"]),
        (1, ["B3", "C1", "C2", "C3", "C4", "D2"]),
    ],
)
def test_optional_runs_go_first_then_confirming_seeds_and_never_what_makes_a_champion(runs, skipped):
    """13 runs in all; B1, B2 and D1 are as many as go on. B3 takes the room that a seed, of two runs, leaves over."""
    assert [run.seed for run in PLAN.phase("C").runs] == [23, 47, 23, 47]
    assert unfit(runs * 10 * 1.1 + DELIVERY) == skipped


def test_optional_runs_come_in_the_plans_order_and_a_shorter_one_takes_what_is_left():
    seconds = {**TEN, "B3": 30.0}
    assert unfit(12 * 10 * 1.1 + DELIVERY, seconds=seconds) == ["B3"]
    assert unfit(14 * 10 * 1.1 + DELIVERY, seconds=seconds) == ["D2"]


def test_what_has_finished_counts_among_those_that_go_on():
    states = finished("A1", "A2", "B1", "B3")
    assert unfit(7 * 11 + DELIVERY, states) == ["B2", "D2"]
    states = {**finished("A1", "A2", "B1"), "B3": RunState(RunStatus.RUNNING)}
    assert unfit(8 * 11 + DELIVERY, states) == ["B2", "D2"]


def test_a_running_one_has_no_margin_to_keep():
    states = {**finished("A1", "A2", "B1", "B2"), "B3": RunState(RunStatus.RUNNING)}
    assert unfit(8 * 10 + DELIVERY, states) == ["D2"]
    assert unfit(8 * 10 + DELIVERY - 2, states) == ["B3", "D2"]


def test_runs_side_by_side_take_less_time():
    assert unfit(8 * 11 + DELIVERY, slots=2) == []
    assert unfit(70 + DELIVERY, slots=2) == ["B3"]


def test_a_configuration_is_skipped_with_all_its_seeds():
    plan = plan_of(
        changed(
            "  C:\n    confirm: {of: B, seeds: [23, 47]}\n    runs: [C1, C2, C3, C4]\n",
            "  C:\n    confirm: {of: B, seeds: [23]}\n    runs: [C1, C2]\n",
        )
    )
    assert unfit(9 * 11 + DELIVERY, plan=plan) == ["B3", "D2"]


def test_a_phase_with_changed_settings_keeps_a_seed():
    text = changed("confirm: {of: B, seeds: [23, 47]}", "confirm: {of: B, seeds: [23, 47], with: {epochs: 4}}")
    assert unfit(1.0, plan=plan_of(text)) == ["B3", "C2", "C4", "D2"]


def test_skipped_runs_close_their_phase():
    skipped = RunState(RunStatus.SKIPPED, delivered=True)
    states = {**finished("A1", "A2", "B1", "B2"), "B3": skipped}
    assert next_action(PLAN, states, set()).kind is ActionKind.DECIDE
    assert next_action(PLAN, {**states, "B3": replace(skipped, delivered=False)}, set()).kind is ActionKind.DELIVER
    assert unfit(1000.0, {**states, **finished("C1", "C2", "C3", "C4", "D1", "F1", "F2")}) == []


def test_the_long_plan_with_half_of_the_time():
    plan = read_plan("tp3")
    hours = {run.name: 3600.0 for run in plan.runs}
    found = runs_that_do_not_fit(plan, {}, hours, 20 * 3600 * 1.1 + 60, 1)
    assert len(found) == 4
    assert all(plan.run(name).phase in "BD" for name in found)
    found = runs_that_do_not_fit(plan, {}, hours, 12 * 3600 * 1.1 + 60, 1)
    assert {plan.phase(plan.run(name).phase).kind for name in found} == {"select", "confirm"}
    assert {plan.run(name).seed for name in found if plan.run(name).phase in "CE"} == {47}


def test_the_reason_is_a_sentence():
    assert str(DoesNotFit(5400.0, 7200.0, 10_000.0)) == (
        "skipped for the deadline: it takes about 1 h 30 min, and of the 2 h 46 min left the champions need 2 h 00 min"
    )
