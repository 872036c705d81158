"""Whether a new decision takes the alias `champion`. Decisions are compared only within one split digest."""

from dataclasses import dataclass
from enum import StrEnum

from flowerml.selection.decision import Decision
from flowerml.selection.rank import ACCURACY_STEP, F1_STEP, Standing


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The decision behind the version that holds the alias.

    `key` is `Decision.key`; `mean` accuracy over `seeds`; `hits` of `total` summed over the seeds, `macro_f1` and
    `deviation` between seeds (None where not known). `retrained`: its weights are a final run's, not the best seed's.
    """

    version: str
    key: str
    config_id: str
    split_digest: str
    seeds: tuple[int, ...]
    mean: float
    hits: int | None = None
    total: int | None = None
    macro_f1: float | None = None
    deviation: float | None = None
    retrained: bool = False


class AliasAction(StrEnum):
    """What happens to the alias."""

    FIRST = "first"  # no version had it
    SAME = "same"  # the same decision again: nothing to do
    RETRAINED = "retrained"  # the same decision, now with weights trained on everything
    BETTER = "better"
    OTHER_SPLIT = "other split"  # can't be compared; the new one takes it
    FORCED = "forced"
    KEEP = "keep"  # no better than the champion


@dataclass(frozen=True)
class Verdict:
    """What happens to the alias `champion`, and why, in words. The version that loses it gets `previous`."""

    action: AliasAction
    words: str

    @property
    def takes_alias(self) -> bool:
        """Whether the new version becomes champion."""
        return self.action not in (AliasAction.SAME, AliasAction.KEEP)


def compare_with_champion(
    decision: Decision, champion: Champion | None, *, retrained: bool = False, force: bool = False
) -> Verdict:
    """Compare a decision that has a winner with the current champion (None: no version has the alias).

    Within one split digest the rule of the ranking decides (mean accuracy, in hits where both have as many pictures;
    macro-F1; variance), and the champion keeps the alias where they are equal. For the same decision nothing is done,
    also with `force`; only weights that were retrained on everything (`retrained`) replace its best seed's, and never
    the other way round.
    """
    winner = decision.winner
    assert winner is not None
    if champion is None:
        return Verdict(AliasAction.FIRST, f"{winner.configuration.label} is the first champion.")
    old = f"the champion, version {champion.version} ({champion.config_id[:8]})"
    if champion.key == decision.key:
        if retrained and not champion.retrained:
            return Verdict(
                AliasAction.RETRAINED, f"The decision is that of {old}; the retrained model takes the alias."
            )
        return Verdict(AliasAction.SAME, f"The decision is that of {old}: nothing to do.")
    if champion.split_digest != decision.split_digest:
        return Verdict(
            AliasAction.OTHER_SPLIT,
            f"{winner.configuration.label} takes the alias, and {old}, becomes previous: they were judged on different"
            f" splits ({decision.split_digest[:8]} and {champion.split_digest[:8]}), so the two can't be compared.",
        )
    better, why = _compare_by_rule(winner, champion)
    if better:
        return Verdict(AliasAction.BETTER, f"{winner.configuration.label} takes the alias from {old}: {why}.")
    same = ", of the same configuration" if champion.config_id == winner.configuration.config_id else ""
    if force:
        return Verdict(
            AliasAction.FORCED,
            f"{winner.configuration.label} takes the alias from {old}{same}, because forced, not better: {why}.",
        )
    return Verdict(
        AliasAction.KEEP,
        f"{old[0].upper()}{old[1:]}{same}, keeps the alias: {why}. Only force gives it away on this split.",
    )


def _compare_by_rule(winner: Standing, champion: Champion) -> tuple[bool, str]:
    """Whether the winner is better than the champion by the rule, and by what, in words."""
    seeds = sorted(run.seed for run in winner.configuration.runs)
    other = (
        ""
        if seeds == sorted(champion.seeds)
        else f", over seeds {_join_seeds(seeds)} against {_join_seeds(sorted(champion.seeds))}"
    )
    means = f"mean accuracy {winner.accuracy.mean:.4f} against {champion.mean:.4f}{other}"
    if None not in (winner.hits, champion.hits) and winner.total == champion.total:
        assert winner.hits is not None
        assert champion.hits is not None
        if winner.hits != champion.hits:
            return (
                winner.hits > champion.hits,
                f"{means} ({winner.hits:,} against {champion.hits:,} hits of {winner.total:,})",
            )
    elif abs(winner.accuracy.mean - champion.mean) > ACCURACY_STEP:
        return winner.accuracy.mean > champion.mean, means
    equal = f"equal in mean accuracy ({winner.accuracy.mean:.4f}{other})"
    if champion.macro_f1 is None:
        return False, f"{equal}, and the champion's macro-F1 is not known"
    if abs(winner.macro_f1.mean - champion.macro_f1) > F1_STEP:
        figures = f"mean macro-F1 {winner.macro_f1.mean:.6g} against {champion.macro_f1:.6g}"
        return winner.macro_f1.mean > champion.macro_f1, f"{equal}; {figures}"
    mine, theirs = winner.accuracy.deviation, champion.deviation
    if mine is not None and theirs is not None and abs(mine - theirs) > ACCURACY_STEP:
        return mine < theirs, f"{equal} and macro-F1; standard deviation between seeds {mine:.6f} against {theirs:.6f}"
    return False, f"{equal} and in all else that the rule looks at"


def _join_seeds(seeds: list[int]) -> str:
    return ", ".join(map(str, seeds))
