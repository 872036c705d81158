"""The deadline of a campaign: what is skipped for it, and when the campaign stops."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from flowerml.campaign.plan.model import PhaseKind, Plan
from flowerml.campaign.report.snapshot import CampaignSnapshot, RunRow
from flowerml.campaign.state.deadline import DoesNotFit, runs_that_do_not_fit
from flowerml.campaign.state.scheduler import RunState, has_ended, phase_status
from flowerml.campaign.status import PhaseStatus, RunStatus

# Arguments: the plan, the campaign with its estimates, and the durations of all runs; the seconds each still takes.
Estimate = Callable[[Plan, CampaignSnapshot, Mapping[str, float]], Mapping[str, float]]
_ENDED = (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.SKIPPED)


def remaining_seconds(plan: Plan, campaign: CampaignSnapshot, seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds that each run still takes, by name.

    The estimate of the probe, times what finished runs of the family took of theirs; that of its epochs for a run that
    has completed some. The campaign has its estimates (`with_eta`).
    """
    scales = _family_scales(plan, campaign, seconds)

    def scaled(run: RunRow) -> float:
        return seconds.get(run.name, 0.0) * scales.get(run.family, 1.0)

    def of(run: RunRow) -> float:
        if run.status in _ENDED:
            return 0.0
        if run.history and run.left is not None:
            return run.left
        whole = scaled(run) if plan.run(run.name).source is None else _dependent_seconds(plan, campaign, run, scaled)
        whole = whole if run.limit is None else min(whole, run.limit)
        return max(0.0, whole - (run.seconds or 0.0))

    return {run.name: of(run) for run in campaign.runs}


def _dependent_seconds(plan: Plan, campaign: CampaignSnapshot, run: RunRow, scaled: Callable[[RunRow], float]) -> float:
    """Seconds of a run that repeats a configuration: by that of its runs once it is known, or else by the mean.

    The probe has estimated it by the mean of the whole phase, of which some runs may be skipped by now.
    """
    source = plan.run(run.name).source
    phase = [one for one in campaign.runs if source is not None and one.phase == source.phase]
    chosen = [one for one in phase if (one.config or one.name) == run.config]
    others = [one for one in chosen or phase if one.status is not RunStatus.SKIPPED]
    usual = sum(map(scaled, phase)) / max(1, len(phase))
    if not others or not usual:
        return scaled(run)
    taken = [one.seconds if one.status is RunStatus.FINISHED and one.seconds else scaled(one) for one in others]
    return sum(taken) / len(taken) * scaled(run) / usual


def _family_scales(plan: Plan, campaign: CampaignSnapshot, seconds: Mapping[str, float]) -> dict[str, float]:
    taken: dict[str, list[tuple[float, float]]] = {}
    for run in campaign.runs:
        kind = plan.phase(run.phase).kind
        if run.status is RunStatus.FINISHED and run.seconds and seconds.get(run.name) and kind is not PhaseKind.SMOKE:
            taken.setdefault(run.family, []).append((run.seconds, seconds[run.name]))
    return {
        family: sum(took for took, _ in pairs) / sum(estimate for _, estimate in pairs)
        for family, pairs in taken.items()
    }


@dataclass
class Deadline:
    """A deadline, in seconds since 1970 by `clock`. `seconds` are the estimated durations of all runs, by name.

    What has been `skipped` stays so in this process, as later phases build on it; another start decides anew.
    """

    ends: float
    seconds: Mapping[str, float]
    slots: int = 1
    clock: Callable[[], float] = time.time
    estimate: Estimate = remaining_seconds
    skipped: dict[str, DoesNotFit] = field(default_factory=dict)

    @property
    def left(self) -> float:
        """Seconds before it."""
        return self.ends - self.clock()

    def skip(
        self, plan: Plan, states: Mapping[str, RunState], campaign: CampaignSnapshot, free_slots: int
    ) -> list[str]:
        """Skip runs of the open phase that do not fit: those whose turn it is, as a slot is free, and those that run.

        Returns the running ones, which are to be stopped.
        """
        estimated = self.estimate(plan, campaign, self.seconds)
        unfit = runs_that_do_not_fit(plan, states, estimated, self.left, self.slots)
        decided = {phase.name for phase in campaign.phases if phase.decision is not None}
        opened = (one for one in plan.phases if phase_status(plan, one, states, decided) is PhaseStatus.OPEN)
        phase, running = next(opened, None), []
        for run in phase.runs if phase is not None else ():
            state = states.get(run.name, RunState())
            if has_ended(plan, plan.phase(run.phase), state) or run.name in self.skipped:
                continue
            is_running = state.status is RunStatus.RUNNING
            if run.name in unfit and (is_running or free_slots > 0):
                self.skipped[run.name] = unfit[run.name]
                running += [run.name] if is_running else []
            elif not is_running:
                free_slots -= 1
        return running

    def applied(self, states: Mapping[str, RunState]) -> dict[str, RunState]:
        """The states with what is skipped as SKIPPED, once it has stopped; what is finished stays."""
        unfinished = (RunStatus.TODO, RunStatus.INTERRUPTED, RunStatus.FAILED)
        return {
            name: replace(state, status=RunStatus.SKIPPED, reason=str(self.skipped[name]))
            if name in self.skipped and state.status in unfinished
            else state
            for name, state in states.items()
        }
