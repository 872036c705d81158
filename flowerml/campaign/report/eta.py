"""Estimate how long a campaign still takes: the epochs left times the seconds that an epoch of the family took."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from flowerml.campaign.report.snapshot import CampaignSnapshot, RunRow
from flowerml.campaign.status import RunStatus

_ENDED = (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.SKIPPED)


def with_eta(
    campaign: CampaignSnapshot, slots: int, epoch_seconds: Mapping[str, float] | None = None
) -> CampaignSnapshot:
    """Fill in `left` of runs, phases and the campaign, where it can be estimated.

    `slots` is the number of runs at a time; `epoch_seconds` (by run) is used where no run of the family has been timed.
    An upper bound where early stopping may end runs: those to come take the share of their epochs that finished ones
    did.
    """
    timed, shares = _family_epoch_seconds(campaign.runs), _family_epoch_shares(campaign.runs)

    def estimate(run: RunRow) -> float | None:
        fallback = (epoch_seconds or {}).get(run.name)
        return _seconds_left(run, timed.get(run.family, fallback), shares.get(run.family, 1.0))

    phases = []
    for phase in campaign.phases:
        runs = tuple(replace(run, left=estimate(run)) for run in phase.runs)
        phases.append(replace(phase, runs=runs, left=_phase_seconds_left(runs, slots)))
    return replace(campaign, phases=tuple(phases), left=_sum_known([phase.left for phase in phases]))


def _phase_seconds_left(runs: Sequence[RunRow], slots: int) -> float | None:
    """The work divided by the slots in use, but at least the longest run."""
    total = _sum_known([run.left for run in runs])
    if total is None:
        return None
    left = [run.left for run in runs if run.left is not None]
    return max([total / max(1, min(slots, sum(seconds > 0 for seconds in left))), *left])


def _sum_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _seconds_left(run: RunRow, family_seconds: float | None, share: float) -> float | None:
    if run.status in _ENDED:
        return 0.0
    epoch_seconds = run.seconds / run.epoch if run.seconds and run.epoch else family_seconds
    if epoch_seconds is None or run.epochs is None:
        return None
    expected = max(run.epoch + 1, round(run.epochs * share))
    left = max(0.0, min(expected, run.epochs) - run.epoch) * epoch_seconds
    return left if run.limit is None else min(left, max(0.0, run.limit - (run.seconds or 0.0)))


def _family_epoch_seconds(runs: Sequence[RunRow]) -> dict[str, float]:
    """Seconds per epoch by family, from the run that has trained longest."""
    longest: dict[str, tuple[int, float]] = {}
    for run in runs:
        if run.seconds and run.epoch and run.epoch >= longest.get(run.family, (0, 0.0))[0]:
            longest[run.family] = (run.epoch, run.seconds / run.epoch)
    return {family: seconds for family, (_, seconds) in longest.items()}


def _family_epoch_shares(runs: Sequence[RunRow]) -> dict[str, float]:
    """The share of their epochs that finished runs of a family needed, but for smoke tests: they never stop early."""
    by_family: dict[str, list[float]] = {}
    for run in runs:
        if run.status is RunStatus.FINISHED and run.epochs and run.epoch and run.epochs > 2:
            by_family.setdefault(run.family, []).append(min(1.0, run.epoch / run.epochs))
    return {family: sum(shares) / len(shares) for family, shares in by_family.items()}
