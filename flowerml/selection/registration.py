"""Whether a new decision takes the alias `champion`. Decisions are compared only within one split digest."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from flowerml.selection.decision import Decision
from flowerml.selection.rank import ACCURACY_STEP, F1_STEP
from flowerml.selection.records import Rule


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The decision behind the version that holds the alias.

    `key` is `Decision.key`; `mean` accuracy over `seeds`; `hits` of `total` summed over the seeds, `macro_f1` and
    `deviation` between seeds (None where not known). `retrained`: its weights are a final run's, not the best seed's.
    `rule` chose it: `mean_recall` is known, and `deviation` is that of the recall, where that is the rule.
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
    rule: Rule = Rule.ACCURACY
    mean_recall: float | None = None


class AliasAction(StrEnum):
    """What happens to the alias."""

    FIRST = "first"  # no version had it
    SAME = "same"  # the same decision again: nothing to do
    RETRAINED = "retrained"  # the same decision, now with weights trained on everything
    BETTER = "better"
    OTHER_SPLIT = "other split"  # can't be compared; the new one takes it
    FORCED = "forced"
    KEEP = "keep"  # no better than the champion, or that one is not a decision's


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

    Within one split digest the rule of the ranking decides (mean accuracy, in hits where both have as many pictures, or
    mean recall; macro-F1; variance), and the champion keeps the alias where they are equal or were chosen by different
    rules. For the same decision nothing is done,
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
    better, why = _compare_by_rule(candidate(decision, retrained=retrained), champion)
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


def compare_with_foreign(decision: Decision, version: str, *, force: bool = False) -> Verdict:
    """The verdict where the alias is on a version that no decision made: a person has put it there, so it stays."""
    winner = decision.winner
    assert winner is not None
    if force:
        label = winner.configuration.label
        words = f"{label} takes the alias from version {version}, which was registered by hand, because forced."
        return Verdict(AliasAction.FORCED, words)
    words = f"Version {version}, which was registered by hand, keeps the alias: only force gives it away."
    return Verdict(AliasAction.KEEP, words)


def candidate(decision: Decision, version: str = "", *, retrained: bool = False) -> Champion:
    """A decision that has a winner as the record it leaves with its version."""
    winner = decision.winner
    assert winner is not None
    recall = winner.mean_recall if decision.scope.rule is Rule.MEAN_RECALL else None
    return Champion(
        version=version,
        key=decision.key,
        config_id=winner.configuration.config_id,
        split_digest=decision.split_digest,
        seeds=tuple(sorted(run.seed for run in winner.configuration.runs)),
        mean=winner.accuracy.mean,
        hits=winner.hits,
        total=winner.total,
        macro_f1=winner.macro_f1.mean,
        deviation=(recall or winner.accuracy).deviation,
        retrained=retrained,
        rule=decision.scope.rule,
        mean_recall=recall.mean if recall else None,
    )


def champion_in_turn(champion: Champion | None, registered: Iterable[Champion], forced: str = "") -> Champion | None:
    """Who has the alias once these versions were registered one after the other, in the order of their numbers.

    Versions that were registered at the same moment are so judged alike by all that registered them. `champion` had the
    alias before; `forced` is the number of a version that takes it unasked.
    """
    for version in sorted(registered, key=lambda one: int(one.version)):
        if version.version == forced or _takes_from(version, champion):
            champion = version
    return champion


def _takes_from(version: Champion, champion: Champion | None) -> bool:
    if champion is None:
        return True
    if champion.key == version.key:
        return version.retrained and not champion.retrained
    return champion.split_digest != version.split_digest or _compare_by_rule(version, champion)[0]


def _compare_by_rule(version: Champion, champion: Champion) -> tuple[bool, str]:
    """Whether a version is better than the champion by the rule, and by what, in words."""
    seeds = sorted(version.seeds)
    other = (
        ""
        if seeds == sorted(champion.seeds)
        else f", over seeds {_join_seeds(seeds)} against {_join_seeds(sorted(champion.seeds))}"
    )
    if version.rule is not champion.rule:
        return False, f"it was chosen by {champion.rule}, and the new one by {version.rule}"
    if version.rule is Rule.MEAN_RECALL:
        return _compare_recall(version, champion, other)
    means = f"mean accuracy {version.mean:.4f} against {champion.mean:.4f}{other}"
    if version.hits is not None and champion.hits is not None and version.total == champion.total:
        if version.hits != champion.hits:
            return (
                version.hits > champion.hits,
                f"{means} ({version.hits:,} against {champion.hits:,} hits of {version.total:,})",
            )
    elif abs(version.mean - champion.mean) > ACCURACY_STEP:
        return version.mean > champion.mean, means
    return _compare_ties(version, champion, f"equal in mean accuracy ({version.mean:.4f}{other})")


def _compare_recall(version: Champion, champion: Champion, other: str) -> tuple[bool, str]:
    mine, theirs = version.mean_recall, champion.mean_recall
    if mine is None or theirs is None:
        return False, "the champion's mean recall is not known"
    if abs(mine - theirs) > F1_STEP:
        return mine > theirs, f"mean recall {mine:.4f} against {theirs:.4f}{other}"
    return _compare_ties(version, champion, f"equal in mean recall ({mine:.4f}{other})")


def _compare_ties(version: Champion, champion: Champion, equal: str) -> tuple[bool, str]:
    """As `_compare_by_rule`, for versions that are `equal` (in words) in what the rule looks at first."""
    if champion.macro_f1 is None or version.macro_f1 is None:
        return False, f"{equal}, and the champion's macro-F1 is not known"
    if abs(version.macro_f1 - champion.macro_f1) > F1_STEP:
        figures = f"mean macro-F1 {version.macro_f1:.6g} against {champion.macro_f1:.6g}"
        return version.macro_f1 > champion.macro_f1, f"{equal}; {figures}"
    mine, theirs = version.deviation, champion.deviation
    if mine is not None and theirs is not None and abs(mine - theirs) > ACCURACY_STEP:
        return mine < theirs, f"{equal} and macro-F1; standard deviation between seeds {mine:.6f} against {theirs:.6f}"
    return False, f"{equal} and in all else that the rule looks at"


def _join_seeds(seeds: list[int]) -> str:
    return ", ".join(map(str, seeds))
