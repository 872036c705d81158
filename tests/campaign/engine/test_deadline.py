"""A campaign with a deadline: what does not fit is skipped, champions are delivered, another start makes up for it."""

from datetime import datetime, timedelta, timezone

import pytest

from flowerml.campaign.engine.deadline import Deadline, remaining_seconds
from flowerml.campaign.report.snapshot import CampaignSnapshot, PhaseSnapshot, RunRow
from flowerml.campaign.service import run_campaign
from flowerml.campaign.state.scheduler import RunState
from flowerml.campaign.status import CampaignStatus, Epoch, PhaseStatus, RunStatus
from flowerml.cli.deadline import parse_deadline
from flowerml.errors import UserError
from flowerml.runs.lifecycle.run_file import read_run_file
from tests.campaign.campaigns import TINY, InProcessExecutor, options, run_here, runs_at_mlflow
from tests.campaign.plans import SMALL, plan_of

# B2, the second, is far better than B1: with it the decision of phase B is another.
BETTER_LATER = TINY.replace("B1: {lr_head: 1e-3}", "B1: {lr_head: 1e-9, lr_backbone: 0}").replace(
    "B2: {lr_head: 3e-3}", "B2: {lr_head: 3e-2, epochs: 6}"
)
SECONDS = dict.fromkeys(("A1", "B1", "B2", "C1", "D1", "D2", "F1", "F2"), 10.0)


def pending(_plan, campaign, seconds):
    """Estimates that nothing measured changes."""
    ended = (RunStatus.FINISHED, RunStatus.SKIPPED)
    return {run.name: 0.0 if run.status in ended else seconds[run.name] for run in campaign.runs}


class Clock:
    """Every job takes ten seconds."""

    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now

    def job(self, _job):
        self.now += 10.0


def run_until(flowers, folder, left, clock, text=TINY, before=None):
    executor = InProcessExecutor(before or clock.job)
    deadline = Deadline(clock.now + left, SECONDS, clock=clock, estimate=pending)
    found = run_campaign(plan_of(text), options(flowers, folder, deadline=deadline), executor=executor)
    return found, executor.jobs


@pytest.mark.slow
def test_champions_are_delivered_and_a_later_start_runs_what_was_skipped(flowers, tmp_path, caplog):
    first, jobs = run_until(flowers, tmp_path, 90.0, Clock(), BETTER_LATER)
    assert jobs == ["A1", "B1", "C1", "D1", "F1", "F2"]
    assert first.status is CampaignStatus.FINISHED
    assert {run.name for run in first.runs if run.status is RunStatus.SKIPPED} == {"B2", "D2"}
    assert {one.family for one in first.delivered} == {"cnn", "vit"}
    (skipped,) = [run for run in first.runs if run.name == "B2"]
    assert skipped.reason == (
        "skipped for the deadline: it takes about 10 s, and of the 1 min 10 s left the champions need 40 s"
    )
    (phase,) = [phase for phase in first.phases if phase.name == "B"]
    assert phase.decision.highlights[-1] == "B2 was skipped: it did not fit before the deadline"
    folder = tmp_path / "runs" / first.id
    assert "| B2 | " in (folder / "table.md").read_text()
    assert "SKIPPED" in (folder / "table.md").read_text()
    assert "<b>B2</b>: skipped for the deadline" in (folder / "report.html").read_text()
    assert f"B2: {skipped.reason}" in caplog.text

    before = {name: read_run_file(tmp_path / "runs" / name) for name in ("C1", "D1", "F1", "F2")}
    second, jobs = run_here(flowers, tmp_path, BETTER_LATER)
    assert {run.status for run in second.runs} == {RunStatus.FINISHED}
    chosen = {phase.name: phase.decision.chosen for phase in second.phases if phase.decision}
    assert chosen["B"] == chosen["C"] == ("B2",)
    assert jobs[:2] == ["B2", "C1"]
    assert {"D2", "F1"} <= set(jobs)
    after = {name: read_run_file(tmp_path / "runs" / name) for name in before}
    assert after["C1"].config_id != before["C1"].config_id
    assert after["D1"] == before["D1"]
    assert read_run_file(folder / "superseded" / "C1-1") == before["C1"]
    assert len(runs_at_mlflow()["C1"]) == 2
    delivered = {one.family: one.source_run for one in second.delivered}
    assert delivered["cnn"] == after["F1"].run_id

    third, jobs = run_here(flowers, tmp_path, BETTER_LATER)
    assert jobs == []
    assert third.status is CampaignStatus.FINISHED
    assert {run.name: run.run_id for run in third.runs} == {run.name: run.run_id for run in second.runs}


@pytest.mark.slow
def test_a_deadline_that_passes_stops_and_the_same_command_goes_on(flowers, tmp_path):
    clock = Clock()

    def slow(job):
        clock.now += 1000.0 if job.name == "C1" else 10.0

    with pytest.raises(KeyboardInterrupt):
        run_until(flowers, tmp_path, 200.0, clock, before=slow)
    (parent,) = runs_at_mlflow("campaign")["campaign tiny"]
    assert parent.info.status == "KILLED"
    finished, jobs = run_here(flowers, tmp_path)
    assert jobs == ["D1", "D2", "F1", "F2"]
    assert {run.status for run in finished.runs} == {RunStatus.FINISHED}


class TestSkip:
    """Of SMALL's runs in phase B, with estimates of ten seconds and what a snapshot of them says."""

    plan = plan_of(SMALL)
    finished = RunState(RunStatus.FINISHED, delivered=True)

    def states(self, **statuses):
        return {"A1": self.finished, "A2": self.finished} | {
            name: RunState(RunStatus(status), delivered=True) for name, status in statuses.items()
        }

    def snapshot(self, states, **rows):
        def row(run, phase):
            status = states.get(run.name, RunState()).status
            given = {"family": run.family.value, "model": "m", "title": "M", "seed": run.seed, "status": status}
            return RunRow(name=run.name, phase=phase.name, order=run.order, **{**given, **rows.get(run.name, {})})

        phases = tuple(
            PhaseSnapshot(
                name=phase.name,
                title="",
                kind=phase.kind.value,
                status=PhaseStatus.OPEN,
                runs=tuple(row(run, phase) for run in phase.runs),
            )
            for phase in self.plan.phases
        )
        return CampaignSnapshot(
            id="c",
            plan="small",
            title="",
            status=CampaignStatus.RUNNING,
            phases=phases,
            plan_digest="",
            data_digest="",
            split_digest="",
            classes=(),
            train_dir="",
            started=0,
            updated=0,
        )

    def skipped(self, left, free_slots=1, **statuses):
        states = self.states(**statuses)
        deadline = Deadline(left, {run.name: 10.0 for run in self.plan.runs}, clock=lambda: 0.0)
        return deadline, deadline.skip(self.plan, states, self.snapshot(states), free_slots)

    def test_a_run_is_skipped_only_when_its_turn_comes(self):
        for statuses in ({}, {"B1": "FINISHED"}, {"B1": "RUNNING"}):
            deadline, stopped = self.skipped(60.0, **statuses)
            assert (set(deadline.skipped), stopped) == (set(), [])
        deadline, stopped = self.skipped(60.0, B1="FINISHED", B2="RUNNING", free_slots=0)
        assert not deadline.skipped
        deadline, stopped = self.skipped(60.0, B1="FINISHED", B2="FINISHED")
        assert (set(deadline.skipped), stopped) == ({"B3"}, [])

    def test_one_that_runs_and_would_not_end_in_time_is_to_be_stopped(self):
        deadline, stopped = self.skipped(59.0, B1="FINISHED", B2="FINISHED", B3="RUNNING", free_slots=0)
        assert (set(deadline.skipped), stopped) == ({"B3"}, ["B3"])
        running = {"B3": RunState(RunStatus.RUNNING)}
        assert deadline.applied(running) == running
        (state,) = deadline.applied({"B3": RunState(RunStatus.INTERRUPTED)}).values()
        assert state.status is RunStatus.SKIPPED
        assert state.reason.startswith("skipped for the deadline: it takes about 10 s")

    def test_finished_runs_tell_how_long_others_of_the_family_take(self):
        states = self.states(B1="FINISHED", B2="RUNNING", B3="TODO")
        rows = {
            "A1": {"seconds": 500.0},
            "B1": {"seconds": 30.0},
            "B2": {"seconds": 12.0},
            "C1": {"history": (Epoch(1, {}),), "left": 7.0},
            "C2": {"limit": 5.0},
        }
        found = remaining_seconds(self.plan, self.snapshot(states, **rows), {run.name: 10.0 for run in self.plan.runs})
        assert {name: found[name] for name in ("B1", "B2", "B3", "C1", "C2", "D1")} == {
            "B1": 0.0,
            "B2": 18.0,
            "B3": 30.0,
            "C1": 7.0,
            "C2": 5.0,
            "D1": 10.0,
        }

    def test_a_dependent_run_takes_as_long_as_its_configuration_does_or_as_those_that_are_not_skipped(self):
        probe = {run.name: 10.0 for run in self.plan.runs} | {"B3": 100.0, "C1": 40.0, "C3": 40.0}
        states = self.states(B1="FINISHED", B2="FINISHED", B3="SKIPPED")
        rows = {"B1": {"seconds": 8.0}, "B2": {"seconds": 12.0}, "C1": {"config": "B1"}}
        found = remaining_seconds(self.plan, self.snapshot(states, **rows), probe)
        assert found["C1"] == pytest.approx(8.0)
        assert found["C3"] == pytest.approx(10.0)


NOON = datetime(2031, 5, 20, 12, 0, 30, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("18:30", "2031-05-20T18:30:00+02:00"),
        ("8:05", "2031-05-21T08:05:00+02:00"),
        ("12:00", "2031-05-21T12:00:00+02:00"),
        ("8h", "2031-05-20T20:00:30+02:00"),
        ("1d2h3m", "2031-05-21T14:03:30+02:00"),
        ("90m", "2031-05-20T13:30:30+02:00"),
        ("2031-05-21T08:00", "2031-05-21T08:00:00+02:00"),
        ("2031-05-21 08:00", "2031-05-21T08:00:00+02:00"),
        ("2031-05-21T08:00:00+00:00", "2031-05-21T10:00:00+02:00"),
    ],
)
def test_a_deadline_is_a_time_of_day_a_date_or_a_duration(text, iso):
    assert parse_deadline(text, NOON).isoformat() == iso


@pytest.mark.parametrize("text", ["", "8", "25:00", "8 h", "-1h", "tomorrow", "h", "2031-02-30T10:00"])
def test_another_form_is_refused(text):
    with pytest.raises(UserError, match=r"^--deadline is .* Allowed: HH:MM"):
        parse_deadline(text, NOON)


@pytest.mark.parametrize("text", ["0m", "2031-05-20T12:00", "2031-05-19T23:00"])
def test_a_past_one_is_refused(text):
    with pytest.raises(UserError, match="is past: it is 2031-05-20 12:00 now"):
        parse_deadline(text, NOON)
