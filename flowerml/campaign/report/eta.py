"""How long a campaign still takes: epochs that are left, times what an epoch of the family has taken so far."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from flowerml.campaign.report.snapshot import CampaignSnapshot, PhaseSnapshot, RunRow
from flowerml.campaign.status import RunStatus

_OVER = (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.SKIPPED)


def with_eta(campaign: CampaignSnapshot, places: int, guesses: Mapping[str, float] | None = None) -> CampaignSnapshot:
    """The same with `left` filled in for runs, phases and the whole, where it can be said.

    `places`: runs at a time. `guesses`: seconds of an epoch by run, used where the family has none measured. An upper
    bound where early stopping may end runs: the share of epochs that finished runs needed is taken for those to come.
    """
    paces, shares = _paces(campaign.runs), _shares(campaign.runs)
    phases = tuple(_phase(phase, paces, shares, guesses or {}, places) for phase in campaign.phases)
    lefts = [phase.left for phase in phases]
    return replace(
        campaign, phases=phases, left=None if None in lefts else sum(left for left in lefts if left is not None)
    )


def _phase(
    phase: PhaseSnapshot,
    paces: Mapping[str, float],
    shares: Mapping[str, float],
    guesses: Mapping[str, float],
    places: int,
) -> PhaseSnapshot:
    runs = tuple(replace(run, left=_left(run, paces, shares, guesses)) for run in phase.runs)
    lefts = [run.left for run in runs]
    if None in lefts:
        return replace(phase, runs=runs, left=None)
    known = [left for left in lefts if left is not None]
    together = sum(known) / max(1, min(places, sum(left > 0 for left in known)))
    return replace(phase, runs=runs, left=max([together, *known]))


def _left(
    run: RunRow, paces: Mapping[str, float], shares: Mapping[str, float], guesses: Mapping[str, float]
) -> float | None:
    if run.status in _OVER:
        return 0.0
    pace = run.seconds / run.epoch if run.seconds and run.epoch else paces.get(run.family, guesses.get(run.name))
    if pace is None or run.epochs is None:
        return None
    expected = max(run.epoch + 1, round(run.epochs * shares.get(run.family, 1.0)))
    return max(0.0, min(expected, run.epochs) - run.epoch) * pace


def _paces(runs: Sequence[RunRow]) -> dict[str, float]:
    """Seconds of an epoch by family: of the runs that trained longest."""
    found: dict[str, tuple[int, float]] = {}
    for run in runs:
        if run.seconds and run.epoch and run.epoch >= found.get(run.family, (0, 0.0))[0]:
            found[run.family] = (run.epoch, run.seconds / run.epoch)
    return {family: pace for family, (_, pace) in found.items()}


def _shares(runs: Sequence[RunRow]) -> dict[str, float]:
    """The share of their epochs that finished runs of a family needed, smoke tests aside (they never stop early)."""
    by_family: dict[str, list[float]] = {}
    for run in runs:
        if run.status is RunStatus.FINISHED and run.epochs and run.epoch and run.epochs > 2:
            by_family.setdefault(run.family, []).append(min(1.0, run.epoch / run.epochs))
    return {family: sum(shares) / len(shares) for family, shares in by_family.items()}
